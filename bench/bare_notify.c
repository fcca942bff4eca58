/* The floor under every intercepted call: one seccomp user notification, received and answered by a supervisor that does
 * nothing else, with synchronous wake-up. Client and supervisor are two processes, as they are under ioctlab.
 * Prints `bare`. */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

/* Older headers lack these (Linux 6.6). */
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif
#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

#if defined(__x86_64__)
#define THIS_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define THIS_ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "say which AUDIT_ARCH_ this is"
#endif

#define MEASURED _IO('E', 5)
#define LAST _IO('E', 255)

static void send_descriptor(int socket, int fd)
{
	char byte = 0, control[CMSG_SPACE(sizeof fd)] = { 0 };
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(header), &fd, sizeof fd);
	if (sendmsg(socket, &message, 0) != 1)
		err(1, "sendmsg");
}

static int receive_descriptor(int socket)
{
	int fd;
	char byte, control[CMSG_SPACE(sizeof fd)];
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	if (recvmsg(socket, &message, 0) != 1 || !CMSG_FIRSTHDR(&message))
		errx(1, "the client ended before it sent its listener");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
	return fd;
}

/* Traps the ioctls of type 'E' of this process, and returns the listener. */
static int install_filter(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, THIS_ARCHITECTURE, 0, 6),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_ioctl, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xff00),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 'E' << 8, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof code / sizeof *code, code };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		err(1, "PR_SET_NO_NEW_PRIVS");
	long listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
	if (listener < 0)
		err(1, "seccomp");
	return (int)listener;
}

static void trapped_call(void *fd)
{
	if (ioctl(*(int *)fd, MEASURED, 0) != 0)
		err(1, "a trapped ioctl");
}

static void be_client(int socket)
{
	int fd = open("/dev/null", O_RDWR);
	if (fd < 0)
		err(1, "/dev/null");
	send_descriptor(socket, install_filter());
	measure_calls("bare", 5000, trapped_call, &fd);
	ioctl(fd, LAST, 0);
	fflush(stdout);
	_exit(0);
}

static void be_supervisor(int listener)
{
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP) != 0)
		err(1, "synchronous wake-up (needs Linux 6.6)");
	for (;;) {
		struct seccomp_notif call = { 0 };
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) != 0) {
			if (errno == EINTR || errno == ENOENT)
				continue;
			err(1, "NOTIF_RECV");
		}
		struct seccomp_notif_resp answer = { .id = call.id };
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) != 0 && errno != ENOENT)
			err(1, "NOTIF_SEND");
		if ((unsigned)call.data.args[1] == LAST)
			return;
	}
}

int main(void)
{
	int sockets[2], status;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) != 0)
		err(1, "socketpair");
	pid_t client = fork();
	if (client < 0)
		err(1, "fork");
	if (client == 0) {
		/* Without the supervisor's end, a client that fails early shows as end of file there. */
		close(sockets[0]);
		be_client(sockets[1]);
	}
	close(sockets[1]);
	be_supervisor(receive_descriptor(sockets[0]));
	return waitpid(client, &status, 0) == client && status == 0 ? 0 : 1;
}
