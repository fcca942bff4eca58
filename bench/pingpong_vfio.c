/* Ping-pong over a device's interrupts: one process has it send a message (MSI) by a write of a register, the other waits in read of the
 * eventfd. */
#include "pingpong.h"
#include "vfio.h"

#include <sys/eventfd.h>

enum { VECTORS = 2 };

static void raise_interrupt(struct player *self)
{
	write_register(self->out, BAR0 + REGISTER_RAISE, self->port, 4);
}

static void wait_for_interrupt(struct player *self)
{
	uint64_t count;
	if (read(self->in, &count, sizeof count) != sizeof count)
		err(1, "read of an eventfd");
}

static void enable_interrupts(int device, const int events[VECTORS])
{
	union {
		struct vfio_irq_set set;
		char room[sizeof(struct vfio_irq_set) + VECTORS * sizeof(int)];
	} arg = { .set = { .argsz = sizeof arg.room, .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			  .index = VFIO_PCI_MSI_IRQ_INDEX, .count = VECTORS } };
	memcpy(arg.set.data, events, VECTORS * sizeof *events);
	if (ioctl(device, VFIO_DEVICE_SET_IRQS, &arg) != 0)
		err(1, "SET_IRQS");
}

int main(int argc, char **argv)
{
	struct vfio vfio = open_device();
	int events[VECTORS] = { eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC) };
	if (events[0] < 0 || events[1] < 0)
		err(1, "eventfd");
	enable_interrupts(vfio.device, events);
	struct court *court = make_court();
	/* Each raises the vector that the other waits for. */
	struct player first = { raise_interrupt, wait_for_interrupt, events[1], vfio.device, 0 };
	struct player second = { raise_interrupt, wait_for_interrupt, events[0], vfio.device, 1 };
	pid_t other = fork();
	if (other < 0)
		err(1, "fork");
	take_place(argc, argv, other == 0);
	if (other == 0) {
		answer_pings(&second, court);
		_exit(0);
	}
	return begin_pings(&first, court, other);
}
