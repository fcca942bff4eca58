//! Having a thread of another process make system calls, by a short `ptrace` attachment.
//!
//! The thread is one that waits for the answer to a trapped call. It is seized and told to stop, then answered (by whoever
//! calls this), and stops on its way out, before it is in user mode again. There it makes the calls it is told to make, and
//! goes on as if its own call had returned what it is given at the end. No other thread of the process notices.

use std::io;
use std::mem::MaybeUninit;

use super::process::{self, Waiting};

/// The length of the `syscall` instruction, in bytes.
const SYSCALL_LENGTH: u64 = 2;
/// What marks a stop at a system call, with `PTRACE_O_TRACESYSGOOD`.
const SYSCALL_STOP: i32 = libc::SIGTRAP | 0x80;

/// How often a thread's stop is looked for before it is slept for.
const LOOKS: u32 = 200;

/// A thread that was seized, and stops at the next occasion.
pub(crate) struct Seized {
    thread: i32,
    /// Other waits of this process would take its stops for a child's.
    waiting: Waiting,
}

/// A thread that has stopped, and can make system calls.
pub(crate) struct Stopped {
    seized: Seized,
    registers: libc::user_regs_struct,
    mask: u64,
    /// Where its `syscall` instruction is.
    instruction: u64,
    /// Signals that it would have got, to be sent again in the end.
    deferred: Vec<i32>,
}

/// Seizes a thread and tells it to stop.
///
/// # Errors
/// `EPERM` if somebody traces it already, or it may not be traced; `ESRCH` if it is gone.
pub(crate) fn seize(thread: i32) -> io::Result<Seized> {
    let waiting = process::waiting();
    request(libc::PTRACE_SEIZE, thread, 0, libc::PTRACE_O_TRACESYSGOOD as usize)?;
    // It can fail only if the thread has been killed, which its first wait will tell.
    let _ = request(libc::PTRACE_INTERRUPT, thread, 0, 0);
    Ok(Seized { thread, waiting })
}

impl Seized {
    /// Waits until the thread has stopped; whatever it was waiting for must have been answered. Its call was made by the
    /// `syscall` instruction that ends at `after`.
    ///
    /// # Errors
    /// `ESRCH` if it was killed instead.
    pub(crate) fn stopped(mut self, after: u64) -> io::Result<Stopped> {
        let mut deferred = Vec::new();
        loop {
            let status = wait(self.thread, &mut self.waiting)?;
            if status >> 16 == libc::PTRACE_EVENT_STOP {
                break;
            }
            if libc::WSTOPSIG(status) != SYSCALL_STOP {
                deferred.push(libc::WSTOPSIG(status));
            }
            request(libc::PTRACE_CONT, self.thread, 0, 0)?;
        }
        let registers = registers(self.thread)?;
        let mut mask: u64 = 0;
        request(libc::PTRACE_GETSIGMASK, self.thread, size_of::<u64>(), &raw mut mask as usize)?;
        let all: u64 = !0;
        request(libc::PTRACE_SETSIGMASK, self.thread, size_of::<u64>(), &raw const all as usize)?;
        let instruction = after.wrapping_sub(SYSCALL_LENGTH);
        Ok(Stopped { seized: self, registers, mask, instruction, deferred })
    }
}

impl Stopped {
    /// Has the thread make a system call.
    ///
    /// # Errors
    /// The call's own errno; `ESRCH` if the thread was killed meanwhile.
    pub(crate) fn call(&mut self, number: i64, arguments: [u64; 6]) -> io::Result<u64> {
        let [rdi, rsi, rdx, r10, r8, r9] = arguments;
        let entry = libc::user_regs_struct {
            rip: self.instruction,
            rax: number as u64,
            // Not within a system call: nothing is to be restarted.
            orig_rax: u64::MAX,
            rdi,
            rsi,
            rdx,
            r10,
            r8,
            r9,
            ..self.registers
        };
        set_registers(self.seized.thread, &entry)?;
        self.run_to_syscall_stop()?;
        self.run_to_syscall_stop()?;
        let result = registers(self.seized.thread)?.rax as i64;
        match i32::try_from(result) {
            Ok(errno @ -4095..=-1) => Err(io::Error::from_raw_os_error(-errno)),
            _ => Ok(result as u64),
        }
    }

    fn run_to_syscall_stop(&mut self) -> io::Result<()> {
        loop {
            request(libc::PTRACE_SYSCALL, self.seized.thread, 0, 0)?;
            let status = wait(self.seized.thread, &mut self.seized.waiting)?;
            if status >> 16 == 0 && libc::WSTOPSIG(status) == SYSCALL_STOP {
                return Ok(());
            }
            // A stop for all of its process, which can't be masked, comes as a signal first and as an event then.
            if status >> 16 == 0 {
                self.deferred.push(libc::WSTOPSIG(status));
            }
        }
    }

    /// Lets the thread go on; its own call returns `value`.
    pub(crate) fn finish(self, value: i64) {
        let thread = self.seized.thread;
        let registers = libc::user_regs_struct { rax: value as u64, orig_rax: u64::MAX, ..self.registers };
        // An error means that it was killed: then there is nothing to put back.
        let _ = set_registers(thread, &registers);
        let _ = request(libc::PTRACE_SETSIGMASK, thread, size_of::<u64>(), &raw const self.mask as usize);
        let _ = request(libc::PTRACE_DETACH, thread, 0, 0);
        for signal in self.deferred {
            process::send_signal_to_thread(thread, signal);
        }
    }
}

/// Waits for a change of a traced thread; its stop status.
fn wait(thread: i32, waiting: &mut Waiting) -> io::Result<i32> {
    let mut looks = 0;
    loop {
        let mut status = 0;
        // Most stops follow at once. To sleep until then takes longer than to look again, if the thread has another
        // processor; if not, it gets this one.
        let patience = if looks < LOOKS { libc::WNOHANG } else { 0 };
        looks += 1;
        // SAFETY: `status` is writable.
        let result =
            unsafe { libc::waitpid(thread, &raw mut status, libc::__WALL | libc::__WNOTHREAD | patience) };
        if result == 0 {
            std::thread::yield_now();
            continue;
        }
        if result < 0 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        if libc::WIFSTOPPED(status) {
            return Ok(status);
        }
        waiting.note_end(thread, status);
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
}

fn registers(thread: i32) -> io::Result<libc::user_regs_struct> {
    let mut registers = MaybeUninit::<libc::user_regs_struct>::zeroed();
    request(libc::PTRACE_GETREGS, thread, 0, registers.as_mut_ptr() as usize)?;
    // SAFETY: all-zero bytes are valid registers, and the kernel has filled them in.
    Ok(unsafe { registers.assume_init() })
}

fn set_registers(thread: i32, registers: &libc::user_regs_struct) -> io::Result<()> {
    request(libc::PTRACE_SETREGS, thread, 0, std::ptr::from_ref(registers) as usize).map(drop)
}

/// A ptrace request. `address` and `data` are numbers, or point to what the request reads or writes; this module's callers
/// pass nothing else.
fn request(request: libc::c_uint, thread: i32, address: usize, data: usize) -> io::Result<i64> {
    // SAFETY: each caller above passes a request with the sizes and pointers that it takes, to live memory of its own.
    let result = unsafe { libc::ptrace(request, thread, address, data) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
