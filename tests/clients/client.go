// Go's runtime on the device: os.OpenFile (which tries the poller), SyscallConn, raw system calls, a blocking read among goroutines.
// Build: go build -o client-go client.go (static by itself). Usage: client-go [DEVICE]
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

const (
	bindInterdomain = 0x84501
	bindUnboundPort = 0x44502
	unbind          = 0x44503
	notify          = 0x44504
	reset           = 0x4505
)

var self uint32

func check(ok bool, what ...interface{}) {
	if !ok {
		_, file, line, _ := runtime.Caller(1)
		fmt.Fprintln(os.Stderr, append([]interface{}{fmt.Sprintf("%s:%d: failed:", file, line)}, what...)...)
		os.Exit(1)
	}
}

func ioctl(fd uintptr, request uintptr, args ...uint32) (int, error) {
	var p unsafe.Pointer
	if len(args) > 0 {
		p = unsafe.Pointer(&args[0])
	}
	r, _, e := syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(p))
	runtime.KeepAlive(args)
	if e != 0 {
		return -1, e
	}
	return int(r), nil
}

func port(b []byte) int { return int(binary.LittleEndian.Uint32(b)) }

func unmask(f *os.File, p int) {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], uint32(p))
	n, err := f.Write(b[:])
	check(n == 4 && err == nil, "write", n, err)
}

func expect(f *os.File, p int) {
	var b [4]byte
	n, err := f.Read(b[:])
	check(n == 4 && err == nil && port(b[:]) == p, "read", n, err, port(b[:]), "not", p)
	unmask(f, p)
}

// pair works through SyscallConn, so that the file stays as os.OpenFile made it.
func pair(f *os.File) (a, b int) {
	conn, err := f.SyscallConn()
	check(err == nil, err)
	err = conn.Control(func(fd uintptr) {
		a, err = ioctl(fd, bindUnboundPort, self)
		check(err == nil && a > 0, "bind unbound", a, err)
		b, err = ioctl(fd, bindInterdomain, self, uint32(a))
		check(err == nil && b > 0, "bind interdomain", b, err)
	})
	check(err == nil, err)
	expect(f, b)
	return
}

func send(f *os.File, p int) {
	conn, _ := f.SyscallConn()
	conn.Control(func(fd uintptr) {
		_, err := ioctl(fd, notify, uint32(p))
		check(err == nil, "notify", err)
	})
}

func main() {
	device := "/dev/xen/evtchn"
	if e := os.Getenv("XEN_EVTCHN"); e != "" {
		device = e
	}
	if len(os.Args) > 1 {
		device = os.Args[1]
	}
	if e, err := strconv.ParseUint(os.Getenv("XEN_SELF"), 0, 32); err == nil {
		self = uint32(e)
	}

	st, err := os.Stat(device)
	check(err == nil && st.Mode()&os.ModeCharDevice != 0, "stat", err)
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	check(err == nil, "open", err)
	a, b := pair(f)
	send(f, a)
	expect(f, b)

	// a blocked read, woken by another goroutine's notify
	began := time.Now()
	go func() {
		time.Sleep(100 * time.Millisecond)
		send(f, a)
	}()
	expect(f, b)
	check(time.Since(began) > 90*time.Millisecond, "the read didn't block")

	// many goroutines, each with a file and a partner; garbage collection's signals (SIGURG) interrupt the blocked ones
	var wg sync.WaitGroup
	for i := 0; i < 16; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			g, err := os.OpenFile(device, os.O_RDWR, 0)
			check(err == nil, "open", err)
			x, y := pair(g)
			done := make(chan bool)
			turn := make(chan bool)
			go func() {
				for range turn {
					send(g, x)
				}
				done <- true
			}()
			for n := 0; n < 200; n++ {
				turn <- true
				expect(g, y)
				if n%50 == 0 {
					runtime.GC()
				}
			}
			close(turn)
			<-done
			check(g.Close() == nil, "close")
		}()
	}
	wg.Wait()

	// raw, non-blocking: the poller is used then
	fd, err := syscall.Open(device, syscall.O_RDWR|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	check(err == nil, "syscall.Open", err)
	var buf [16]byte
	_, err = syscall.Read(fd, buf[:])
	check(err == syscall.EAGAIN, "read of an empty file", err)
	_, err = ioctl(uintptr(fd), 0x4599)
	check(err == syscall.ENOSYS, "unknown ioctl", err)
	_, err = ioctl(uintptr(fd), notify, 100000)
	check(err == syscall.ENOTCONN, "notify of an unknown port", err)
	_, err = ioctl(uintptr(fd), reset)
	check(err == nil, "reset", err)
	nb := os.NewFile(uintptr(fd), device) // with O_NONBLOCK set it goes to epoll
	x, y := pair(nb)
	go func() {
		time.Sleep(100 * time.Millisecond)
		send(nb, x)
	}()
	expect(nb, y)
	check(nb.SetReadDeadline(time.Now().Add(50*time.Millisecond)) == nil, "SetReadDeadline")
	_, err = nb.Read(buf[:])
	check(os.IsTimeout(err), "a deadline", err)
	check(nb.Close() == nil, "close")

	_, err = ioctl(f.Fd(), unbind, uint32(b))
	check(err == nil, "unbind", err)
	check(f.Close() == nil, "close")
	_, err = os.OpenFile(device+"/", os.O_RDWR, 0)
	check(err != nil, "a trailing slash")
	fmt.Println("ok client.go")
}
