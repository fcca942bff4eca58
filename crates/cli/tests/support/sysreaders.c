/* Leaves processes behind that open a file of the lab's /sys all the time, until that fails. The arguments are their number and the file. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	for (int left = atoi(argv[1]); left > 0; left--) {
		if (fork() != 0)
			continue;
		for (;;) {
			int file = open(argv[2], O_RDONLY);
			if (file < 0)
				_exit(0);
			close(file);
		}
	}
	usleep(20000);
	if (write(1, "reading\n", 8) != 8)
		return 1;
	usleep(10000);
	return 0;
}
