/* timed COUNT PROGRAM [ARGUMENT...]: runs a program COUNT times, its output thrown away, and prints `wall`, the median time.
 * It measures from inside, so that the start-up of what it itself runs under is not counted. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

extern char **environ;

static double run_once(char **argv, posix_spawn_file_actions_t *actions)
{
	pid_t child;
	int status;
	uint64_t start = now_ns();
	int error = posix_spawnp(&child, argv[0], actions, NULL, argv, environ);
	if (error != 0) {
		errno = error;
		err(1, "%s", argv[0]);
	}
	if (waitpid(child, &status, 0) != child)
		err(1, "waitpid");
	/* find says 1 when a directory can't be read, which is the same with and without ioctlab. */
	if (!WIFEXITED(status) || WEXITSTATUS(status) > 1)
		errx(1, "%s failed with status %#x", argv[0], (unsigned)status);
	return (double)(now_ns() - start);
}

int main(int argc, char **argv)
{
	int count = argc > 2 ? atoi(argv[1]) : 0;
	if (count < 1)
		errx(2, "usage: timed COUNT PROGRAM [ARGUMENT...]");
	double *samples = calloc((size_t)count, sizeof *samples);
	posix_spawn_file_actions_t actions;
	if (!samples || posix_spawn_file_actions_init(&actions) != 0)
		err(1, "set-up");
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	for (int i = 0; i < count; i++)
		samples[i] = run_once(argv + 2, &actions);
	printf("wall %.0f\n", median(samples, (size_t)count));
	return 0;
}
