// VFIO in Go, statically linked: raw calls, memory that is mapped by syscall.Mmap, an interrupt that a goroutine waits for.
package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// The requests, and the offset of config space in a device's file.
const (
	getAPIVersion = 0x3b64 + iota
	checkExtension
	setIOMMU
	groupGetStatus
	groupSetContainer
	groupUnsetContainer
	groupGetDeviceFD
	deviceGetInfo
	deviceGetRegionInfo
	deviceGetIRQInfo
	deviceSetIRQs
	deviceReset
	iommuGetInfo
	iommuMapDMA
	iommuUnmapDMA

	config    = 7 << 40
	eduMemory = 0x40000
	page      = 4096
	iova      = 0x100000
)

func check(ok bool, what ...interface{}) {
	if !ok {
		_, _, line, _ := runtime.Caller(1)
		fmt.Fprintln(os.Stderr, append([]interface{}{"vfio.go: line", line, "failed:"}, what...)...)
		os.Exit(1)
	}
}

func ioctl(fd int, request uintptr, arg unsafe.Pointer) (int, syscall.Errno) {
	r, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
	return int(r), e
}

func must(fd int, request uintptr, arg unsafe.Pointer) int {
	r, e := ioctl(fd, request, arg)
	if e != 0 {
		_, _, line, _ := runtime.Caller(1)
		fmt.Fprintf(os.Stderr, "vfio.go: line %d: ioctl %#x: %v\n", line, request, e)
		os.Exit(1)
	}
	return r
}

// with is an ioctl whose argument is a number.
func with(fd int, request, arg uintptr) int {
	r, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), request, arg)
	check(e == 0, "ioctl", request, e)
	return int(r)
}

func open(path string) int {
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	check(err == nil, path, err)
	return fd
}

type device int

func (d device) read(at int64) uint32 {
	var b [4]byte
	n, err := syscall.Pread(int(d), b[:], at)
	check(n == 4 && err == nil, "pread", at, err)
	return binary.LittleEndian.Uint32(b[:])
}

func (d device) write(at int64, value uint32) {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], value)
	n, err := syscall.Pwrite(int(d), b[:], at)
	check(n == 4 && err == nil, "pwrite", at, err)
}

type irqSet struct {
	argsz, flags, index, start, count uint32
	fd                                int32
}

func (d device) copy(from, to, count, command uint32, fired <-chan uint64) {
	for _, r := range [][2]uint32{{0x80, from}, {0x88, to}, {0x90, count}, {0x98, command | 5}} {
		d.write(int64(r[0]), r[1])
	}
	select {
	case n := <-fired:
		check(n == 1, "events", n)
	case <-time.After(5 * time.Second):
		check(false, "no interrupt")
	}
	check(d.read(0x24) == 0x100)
	d.write(0x64, 0x100)
	for d.read(0x98)&1 != 0 {
		time.Sleep(time.Millisecond)
	}
}

func main() {
	address := os.Getenv("VFIO_DEVICE")
	if address == "" {
		address = "0000:00:05.0"
	}
	link, err := os.Readlink("/sys/bus/pci/devices/" + address + "/iommu_group")
	check(err == nil, err)
	path := "/dev/vfio/" + filepath.Base(link)
	container, group := open("/dev/vfio/vfio"), open(path)
	check(with(container, getAPIVersion, 0) == 0)
	check(with(container, checkExtension, 1) == 1)
	status := [2]uint32{8, 0}
	must(group, groupGetStatus, unsafe.Pointer(&status))
	check(status[1] == 1)
	fd := int32(container)
	must(group, groupSetContainer, unsafe.Pointer(&fd))
	with(container, setIOMMU, 1)
	_, err = syscall.Open(path, syscall.O_RDWR, 0)
	check(err == syscall.EBUSY, err)
	name, _ := syscall.BytePtrFromString(address)
	edu := device(must(group, groupGetDeviceFD, unsafe.Pointer(name)))

	info := [5]uint32{20}
	must(int(edu), deviceGetInfo, unsafe.Pointer(&info))
	check(info[1] == 2 && info[2] == 9 && info[3] == 5, info)
	check(edu.read(config) == 0x11e81234)
	edu.write(config+4, 6)
	check(edu.read(0) == 0x010000ed)
	bar, err := syscall.Mmap(int(edu), 0, page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	check(err == nil, err)
	live := (*uint32)(unsafe.Pointer(&bar[4]))
	atomic.StoreUint32(live, 0x01020304)
	check(edu.read(4) == 0xfefdfcfb)
	check(atomic.LoadUint32(live) == 0xfefdfcfb)
	check(syscall.Munmap(bar) == nil)

	memory, err := syscall.Mmap(-1, 0, 2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	check(err == nil, err)
	type dmaMap struct {
		argsz, flags      uint32
		vaddr, iova, size uint64
	}
	must(container, iommuMapDMA, unsafe.Pointer(&dmaMap{32, 3, uint64(uintptr(unsafe.Pointer(&memory[0]))), iova, 2 * page}))
	event, _, e := syscall.Syscall(syscall.SYS_EVENTFD2, 0, syscall.O_CLOEXEC, 0)
	check(e == 0, e)
	must(int(edu), deviceSetIRQs, unsafe.Pointer(&irqSet{24, 0x24, 1, 0, 1, int32(event)}))
	fired := make(chan uint64)
	go func() {
		var b [8]byte
		for {
			n, err := syscall.Read(int(event), b[:])
			check(n == 8 && err == nil, err)
			fired <- binary.LittleEndian.Uint64(b[:])
		}
	}()
	for seed := 0; seed < 3; seed++ {
		for i := 0; i < 500; i++ {
			memory[i], memory[page+i] = byte(seed+i*11), 0
		}
		edu.copy(iova, eduMemory, 500, 0, fired)
		edu.copy(eduMemory, iova+page, 500, 2, fired)
		check(bytes.Equal(memory[:500], memory[page:page+500]))
	}
	must(int(edu), deviceSetIRQs, unsafe.Pointer(&irqSet{20, 0x21, 1, 0, 0, 0}))
	unmap := struct {
		argsz, flags uint32
		iova, size   uint64
	}{24, 0, iova, 2 * page}
	must(container, iommuUnmapDMA, unsafe.Pointer(&unmap))
	check(unmap.size == 2*page, unmap.size)
	_, e = ioctl(int(edu), deviceReset, nil)
	check(e == syscall.EINVAL, e)
	check(syscall.Close(int(edu)) == nil)
	with(group, groupUnsetContainer, 0)
	check(syscall.Close(group) == nil && syscall.Close(container) == nil)
	fmt.Println("ok vfio-go")
}
