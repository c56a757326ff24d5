package stream

import (
	"net"
	"syscall"
)

// nudgeAt makes the kernel report conn as readable only when so many bytes wait. Go's poller would otherwise be woken for each message
// that arrives, whether somebody reads or not, and with it the sender's CPU kept busy. Where it cannot be set, that is so.
func nudgeAt(conn net.Conn, bytes int) {
	if wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
		conn = wrapped.NetConn()
	}
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, bytes) })
}
