/* Runs a program with the system calls refused that a container's default profile refuses: mounts and namespaces, and access to other
 * processes except by ptrace. Usage: confined PROGRAM [ARGUMENT...] */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const int refused[] = { SYS_mount, SYS_umount2, SYS_unshare, SYS_setns, SYS_pivot_root, SYS_open_tree, SYS_move_mount, SYS_fsopen,
	SYS_fsmount, SYS_mount_setattr, SYS_process_vm_readv, SYS_process_vm_writev, SYS_pidfd_getfd, SYS_kcmp, SYS_io_uring_setup, SYS_bpf };
#define NEW_NAMESPACE (CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP)
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define GIVE(what) BPF_STMT(BPF_RET | BPF_K, what)

int main(int argc, char **argv)
{
	struct sock_filter filter[64];
	struct sock_fprog program = { 0, filter };
	unsigned n = 0;
#define ADD(...) (filter[n++] = (struct sock_filter)__VA_ARGS__)
	if (argc < 2)
		return 2;
	ADD(LOAD(arch));
	ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0));
	ADD(GIVE(SECCOMP_RET_ALLOW));
	ADD(LOAD(nr));
	for (unsigned i = 0; i < sizeof refused / sizeof *refused; i++) {
		ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)refused[i], 0, 1));
		ADD(GIVE(SECCOMP_RET_ERRNO | EPERM));
	}
	/* its flags can't be seen: programs fall back on clone */
	ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1));
	ADD(GIVE(SECCOMP_RET_ERRNO | ENOSYS));
	ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3));
	ADD(LOAD(args[0]));
	ADD(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, NEW_NAMESPACE, 0, 1));
	ADD(GIVE(SECCOMP_RET_ERRNO | EPERM));
	ADD(GIVE(SECCOMP_RET_ALLOW));
	program.len = n;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
		perror("confined: the seccomp filter");
		return 1;
	}
	execvp(argv[1], argv + 1);
	perror(argv[1]);
	return 127;
}
