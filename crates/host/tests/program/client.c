/* What a program may do with a device's memory that it has mapped, and what a device with the program's. The device's ioctls are those of main.rs. */
#include "check.h"
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define PAGE 4096ul
#define BYTES (16 * PAGE)
#define DO(number, argument) ioctl(fd, 0x7400 | (number), (unsigned long)(argument))
#define REACHABLE(yes) CHECK(DO(1, yes) == 0)
#define DEVICE_READ(at) DO(2, at)
#define DEVICE_WRITE(at, value) CHECK(DO(3, (at) << 8 | (value)) == 0)

static int fd;
static __thread sigjmp_buf back;

static void caught(int signal)
{
	siglongjmp(back, signal);
}

/* The byte that is there, or minus the signal. */
static int peek(volatile unsigned char *at)
{
	int signal = sigsetjmp(back, 1);
	return signal ? -signal : *at;
}

static int poke(volatile unsigned char *at, unsigned char value)
{
	int signal = sigsetjmp(back, 1);
	if (signal)
		return -signal;
	*at = value;
	return 0;
}

static unsigned char *map(int file, unsigned long bytes, int protection, unsigned long offset)
{
	unsigned char *at = mmap(NULL, bytes, protection, MAP_SHARED, file, (off_t)offset);
	return at == MAP_FAILED ? NULL : at;
}

static void reached(void)
{
	unsigned char *all = map(fd, BYTES, PROT_READ | PROT_WRITE, 0), *part = map(fd, PAGE, PROT_READ, 2 * PAGE);
	CHECK(all && part);
	CHECK(peek(all) == -SIGBUS && poke(all + 5, 1) == -SIGBUS && peek(part) == -SIGBUS);
	DEVICE_WRITE(2 * PAGE, 7);
	for (int round = 1; round <= 3; round++) {
		REACHABLE(1);
		CHECK(peek(part) == 7 && peek(all + 2 * PAGE) == 7);
		CHECK(poke(all + 9 * PAGE, (unsigned char)round) == 0 && DEVICE_READ(9 * PAGE) == round);
		CHECK(poke(part, 1) == -SIGSEGV);
		REACHABLE(0);
		CHECK(peek(part) == -SIGBUS && poke(all + 9 * PAGE, 9) == -SIGBUS);
		CHECK(DEVICE_READ(9 * PAGE) == round);
	}
	REACHABLE(1);
	CHECK(munmap(all, BYTES) == 0 && munmap(part, PAGE) == 0);
}

static void like_pfns(void)
{
	unsigned char *room = mmap(NULL, BYTES + 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned char *all = mmap(room + PAGE, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	CHECK(all == room + PAGE);
	CHECK(poke(all + 3 * PAGE, 33) == 0 && poke(room, 44) == 0);
	FAILS(madvise(all + 3 * PAGE, PAGE, MADV_DONTNEED), EINVAL);
	FAILS(madvise(room, 2 * PAGE, MADV_DONTNEED), EINVAL);
	FAILS(madvise(all, BYTES + PAGE, MADV_DONTNEED), EINVAL);
	CHECK(peek(all + 3 * PAGE) == 33);
	CHECK(madvise(room, PAGE, MADV_DONTNEED) == 0 && peek(room) == 0);
	CHECK(munmap(room + PAGE + BYTES, PAGE) == 0);
	CHECK(mremap(all, BYTES, BYTES + PAGE, 0) == MAP_FAILED && errno == EFAULT);
	CHECK(mremap(all, BYTES, BYTES + PAGE, MREMAP_MAYMOVE) == MAP_FAILED && errno == EFAULT);
	unsigned char *moved = mmap(NULL, BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(mremap(all, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, moved) == moved);
	CHECK(peek(moved + 3 * PAGE) == 33 && peek(all) == -SIGSEGV);
	FAILS(madvise(moved + 3 * PAGE, PAGE, MADV_DONTNEED), EINVAL);
	CHECK(mprotect(moved, PAGE, PROT_READ) == 0 && poke(moved, 1) == -SIGSEGV);
	CHECK(mprotect(moved, PAGE, PROT_READ | PROT_WRITE) == 0 && poke(moved, 1) == 0);
	CHECK(munmap(moved, BYTES) == 0 && munmap(room, PAGE) == 0);
	int reader = open("/dev/ioctlab-test", O_RDONLY);
	CHECK(!map(reader, PAGE, PROT_READ | PROT_WRITE, 0) && errno == EACCES);
	unsigned char *seen = map(reader, PAGE, PROT_READ, 0);
	CHECK(seen && peek(seen) == 1);
	FAILS(mprotect(seen, PAGE, PROT_READ | PROT_WRITE), EACCES);
	CHECK(munmap(seen, PAGE) == 0 && close(reader) == 0);
}

static void unmapped(void)
{
	for (int round = 0; round < 300; round++) {
		int before = DO(5, 0);
		unsigned char *all = map(fd, BYTES, PROT_READ | PROT_WRITE, 0);
		CHECK(all && poke(all, 1) == 0 && DO(5, 0) == before);
		CHECK(munmap(all, PAGE) == 0 && munmap(all + 2 * PAGE, BYTES - 2 * PAGE) == 0 && DO(5, 0) == before);
		CHECK(munmap(all + PAGE, PAGE) == 0 && DO(5, 0) == before + 1);
	}
}

static void inherited(void)
{
	int down[2], up[2], before = DO(5, 0);
	char byte = 0;
	CHECK(pipe(down) == 0 && pipe(up) == 0);
	unsigned char *all = map(fd, BYTES, PROT_READ | PROT_WRITE, 0);
	CHECK(poke(all + PAGE, 21) == 0);
	pid_t child = fork();
	if (child == 0) {
		CHECK(peek(all + PAGE) == 21 && poke(all + PAGE, 22) == 0);
		CHECK(write(up[1], "", 1) == 1 && read(down[0], &byte, 1) == 1);
		CHECK(peek(all + PAGE) == -SIGBUS && peek(all + 2 * PAGE) == -SIGBUS);
		CHECK(write(up[1], "", 1) == 1 && read(down[0], &byte, 1) == 1);
		CHECK(peek(all + PAGE) == 22);
		_exit(0);
	}
	int status;
	CHECK(read(up[0], &byte, 1) == 1 && peek(all + PAGE) == 22);
	REACHABLE(0);
	CHECK(write(down[1], "", 1) == 1 && read(up[0], &byte, 1) == 1 && peek(all + PAGE) == -SIGBUS);
	REACHABLE(1);
	CHECK(munmap(all, BYTES) == 0 && DO(5, 0) == before);
	CHECK(write(down[1], "", 1) == 1 && waitpid(child, &status, 0) == child && status == 0);
	for (int tries = 0; DO(5, 0) == before; tries++) {
		CHECK(tries < 1000);
		usleep(1000);
	}
	CHECK(DO(5, 0) == before + 1);
}

static volatile int done;

static void *toucher(void *at)
{
	unsigned char *all = at;
	long seen = 0;
	while (!done) {
		for (int page = 0; page < 8; page++) {
			int value = peek(all + page * PAGE);
			CHECK(value == -SIGBUS || value == page + 1);
			seen += value > 0;
			CHECK(poke(all + (8 + page) * PAGE, 5) <= 0);
		}
	}
	CHECK(seen > 0);
	return NULL;
}

static void raced(void)
{
	unsigned char *all = map(fd, BYTES, PROT_READ | PROT_WRITE, 0);
	pthread_t thread;
	for (int page = 0; page < 8; page++)
		CHECK(poke(all + page * PAGE, (unsigned char)(page + 1)) == 0);
	CHECK(pthread_create(&thread, NULL, toucher, all) == 0);
	for (int round = 0; round < 2000; round++) {
		REACHABLE(0);
		CHECK(DEVICE_READ(5 * PAGE) == 6);
		REACHABLE(1);
		unsigned char *other = map(fd, PAGE, PROT_READ, (unsigned long)(round % 8) * PAGE);
		CHECK(other && peek(other) == round % 8 + 1 && munmap(other, PAGE) == 0);
	}
	done = 1;
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(munmap(all, BYTES) == 0);
}

static volatile int taken;

static void *taker(void *unused)
{
	while ((taken = dup(767)) < 0)
		;
	return unused;
}

/* The file that is to be mapped is the program's for a moment. Whatever it does to it, the device goes on. */
static void cut_off(void)
{
	pthread_t thread;
	taken = -1;
	CHECK(pthread_create(&thread, NULL, taker, NULL) == 0);
	while (taken < 0)
		CHECK(munmap(map(fd, BYTES, PROT_READ | PROT_WRITE, 0), BYTES) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
	unsigned char *all = map(fd, BYTES, PROT_READ | PROT_WRITE, 0);
	DEVICE_WRITE(PAGE, 9);
	CHECK(peek(all + PAGE) == 9 && ftruncate(taken, 0) == 0 && peek(all + PAGE) == -SIGBUS);
	CHECK(DEVICE_READ(PAGE) == 0 && DEVICE_READ(2 * PAGE) == 0);
	DEVICE_WRITE(3 * PAGE, 9);
	CHECK(munmap(all, BYTES) == 0 && close(taken) == 0);
	/* Nothing is wrong with the next one. */
	CHECK(DO(4, 0) == 0);
	REACHABLE(1);
	all = map(fd, BYTES, PROT_READ | PROT_WRITE, 0);
	CHECK(poke(all, 3) == 0 && DEVICE_READ(0) == 3 && munmap(all, BYTES) == 0);
}

static void removed(void)
{
	unsigned char *all = map(fd, BYTES, PROT_READ | PROT_WRITE, 0);
	CHECK(poke(all, 1) == 0 && DO(4, 0) == 0);
	CHECK(peek(all) == -SIGBUS && poke(all + PAGE, 1) == -SIGBUS);
	REACHABLE(1);
	unsigned char *next = map(fd, BYTES, PROT_READ | PROT_WRITE, 0);
	CHECK(peek(all) == -SIGBUS && peek(next) == 0);
	CHECK(munmap(all, BYTES) == 0 && munmap(next, BYTES) == 0);
}

static void *same_space(void *unused)
{
	(void)unused;
	CHECK(DO(7, 0) == 1);
	return NULL;
}

static void lent(void)
{
	unsigned char *own = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned char *all = map(fd, BYTES, PROT_READ | PROT_WRITE, 0);
	pthread_t thread;
	CHECK(munmap(own + 2 * PAGE, PAGE) == 0);
	CHECK(DO(6, 0) == 0 && DO(7, 0) == 1);
	CHECK(pthread_create(&thread, NULL, same_space, NULL) == 0 && pthread_join(thread, NULL) == 0);
	*own = 5;
	CHECK(DO(8, own) == 5 && *own == 6);
	CHECK(DO(9, own) == 0 && DO(9, all) == 0);
	FAILS(DO(9, own + 2 * PAGE - 1), EFAULT);
	CHECK(mprotect(own, PAGE, PROT_READ) == 0);
	FAILS(DO(9, own), EFAULT);
	CHECK(DO(8, own) == 6 && *own == 7);
	REACHABLE(0);
	FAILS(DO(9, all), EFAULT);
	FAILS(DO(8, all), EFAULT);
	REACHABLE(1);
	CHECK(poke(all, 8) == 0 && DO(8, all) == 8 && DEVICE_READ(0) == 9);
	pid_t child = fork();
	if (child == 0) {
		CHECK(DO(7, 0) == 0);
		execl("/nonexistent", "", NULL);
		CHECK(DO(7, 0) == 0);
		_exit(0);
	}
	int status;
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	CHECK(execl("/nonexistent", "", NULL) == -1 && DO(7, 0) == 1);
	struct rlimit limit;
	CHECK(getrlimit(RLIMIT_MEMLOCK, &limit) == 0);
	CHECK(DO(10, 0) == (limit.rlim_cur == RLIM_INFINITY ? -1 : (int)(limit.rlim_cur >> 10)));
	int before = DO(11, 0);
	CHECK(before >= 0);
	if (mlock(own, 2 * PAGE) == 0)
		CHECK(DO(11, 0) == before + 2);
	CHECK(DO(12, 0) == 0 || DO(12, 0) == 1);
	CHECK(munmap(all, BYTES) == 0);
}

/* Waits until the device has done its work so often. */
static void has_worked(int times)
{
	for (int tries = 0; DO(14, 0) < times; tries++) {
		CHECK(tries < 5000);
		usleep(1000);
	}
	usleep(20000);
	CHECK(DO(14, 0) == times);
}

static void signal_times(int event, int times)
{
	for (uint64_t one = 1; times > 0; times--)
		CHECK(write(event, &one, sizeof(one)) == sizeof(one));
}

static void signalled(void)
{
	int event = eventfd(0, 0), times = DO(14, 0);
	CHECK(event >= 0 && DO(13, event) == 0);
	for (int round = 0; round < 5; round++) {
		signal_times(event, 1);
		has_worked(++times);
	}
	/* Work that panics is nobody else's end. */
	CHECK(DO(15, 1) == 0);
	for (int round = 0; round < 20; round++) {
		signal_times(event, 1);
		has_worked(++times);
	}
	FAILS(DO(16, 0), EIO);
	CHECK(DO(14, 0) == ++times);
	/* While a device is at it, what else comes is one more piece of work, however much it is. */
	CHECK(DO(15, 2) == 0);
	signal_times(event, 1);
	has_worked(++times);
	signal_times(event, 3000);
	has_worked(times);
	CHECK(DO(15, 0) == 0);
	has_worked(++times);
	/* A signal is one, however much it adds to the count. */
	int semaphore = eventfd(0, EFD_SEMAPHORE);
	uint64_t many = 1ul << 40;
	CHECK(semaphore >= 0 && DO(13, semaphore) == 0 && write(semaphore, &many, sizeof(many)) == sizeof(many));
	has_worked(++times);
	CHECK(close(event) == 0 && close(semaphore) == 0);
}

/* Where the program that makes a call has a page, and the next program of its process, too. */
#define PLACE ((unsigned char *)0x7000000000)

static unsigned char *page_at_place(void)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
	unsigned char *page = mmap(PLACE, PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
	CHECK(page == PLACE);
	return page;
}

static char number[16], before[16];

static void *executes(void *unused)
{
	execl("/proc/self/exe", "next", number, before, NULL);
	return unused;
}

/* A call's work goes on while its process gets another program, whose memory isn't the call's. */
static void outlived(void)
{
	int status;
	pid_t child = fork();
	if (child == 0) {
		pthread_t thread;
		snprintf(number, sizeof(number), "%d", fd);
		snprintf(before, sizeof(before), "%d", DO(17, 0));
		CHECK(DO(15, 2) == 0 && pthread_create(&thread, NULL, executes, NULL) == 0);
		DO(16, page_at_place());
		_exit(1);
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	CHECK(DO(16, page_at_place()) == 0 && *PLACE == 0xff && munmap(PLACE, PAGE) == 0);
}

static void next_program(char **argv)
{
	fd = atoi(argv[1]);
	CHECK(*page_at_place() == 0);
	CHECK(DO(15, 0) == 0);
	for (int tries = 0; DO(17, 0) == atoi(argv[2]); tries++) {
		CHECK(tries < 5000);
		usleep(1000);
	}
	CHECK(*PLACE == 0);
}

static int waits(void *unused)
{
	(void)unused;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (pause())
		;
	return 0;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = caught };
	if (argc == 3) {
		next_program(argv);
		return 0;
	}
	if (argc > 1) {
		/* The next program of the process: its memory isn't the device's, though another process still has the one before's. */
		fd = atoi(argv[1]);
		CHECK(DO(7, 0) == 0);
		FAILS(DO(8, strtoul(argv[2], NULL, 16)), EFAULT);
		CHECK(DO(6, 0) == 0 && DO(7, 0) == 1);
		pid_t other = atoi(argv[3]);
		CHECK(kill(other, 0) == 0 && kill(other, SIGKILL) == 0 && waitpid(other, NULL, 0) == other);
		return 0;
	}
	CHECK(sigaction(SIGBUS, &action, NULL) == 0 && sigaction(SIGSEGV, &action, NULL) == 0);
	fd = open("/dev/ioctlab-test", O_RDWR);
	CHECK(fd >= 0);
	reached();
	like_pfns();
	unmapped();
	inherited();
	raced();
	cut_off();
	removed();
	lent();
	signalled();
	outlived();
	static char stack[16384];
	char address[32], other[16];
	snprintf(number, sizeof(number), "%d", fd);
	snprintf(address, sizeof(address), "%lx", (unsigned long)argv);
	snprintf(other, sizeof(other), "%d", clone(waits, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL));
	execl("/proc/self/exe", argv[0], number, address, other, NULL);
	return 1;
}
