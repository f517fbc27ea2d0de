//! What streams of bytes do alike, whatever their family.

/// Looking at data, and calls with several buffers.
macro_rules! byte_stream {
    ($kind:ty) => {
        impl $kind {
            /// As [`read`](Self::read), and leaves the data where it is (`MSG_PEEK`).
            ///
            /// # Errors
            ///
            /// As [`read`](Self::read).
            pub fn peek(&self, io: &mut $crate::Io<'_>, buf: &mut [u8]) -> core::task::Poll<Result<usize, $crate::Error>> {
                if buf.is_empty() {
                    return core::task::Poll::Ready(io.fd(self.token).map(|_| 0));
                }
                let flags = $crate::net::RECV | rustix::net::RecvFlags::PEEK;
                // Not drained by a short answer: the data is still there.
                io.poll_io(self.token, $crate::Direction::Read, |fd| rustix::net::recv(fd, &mut *buf, flags).map(|(n, _)| n))
            }

            /// As [`read`](Self::read), into several buffers in turn (recvmsg(2)); 0 also if there is no room in them. At most 1024 of
            /// them; more are an error of the kernel's (`EMSGSIZE`).
            ///
            /// # Errors
            ///
            /// As [`read`](Self::read).
            pub fn read_vectored(
                &self,
                io: &mut $crate::Io<'_>,
                bufs: &mut [$crate::net::IoSliceMut<'_>],
            ) -> core::task::Poll<Result<usize, $crate::Error>> {
                io.poll_io(self.token, $crate::Direction::Read, |fd| {
                    let control = &mut rustix::net::RecvAncillaryBuffer::default();
                    Ok(rustix::net::recvmsg(fd, bufs, control, $crate::net::RECV)?.bytes)
                })
            }

            /// As [`write`](Self::write), from several buffers in turn (sendmsg(2)). At most 1024 of them; more are an error of the
            /// kernel's (`EMSGSIZE`).
            ///
            /// # Errors
            ///
            /// As [`write`](Self::write).
            pub fn write_vectored(
                &self,
                io: &mut $crate::Io<'_>,
                bufs: &[$crate::net::IoSlice<'_>],
            ) -> core::task::Poll<Result<usize, $crate::Error>> {
                io.poll_io(self.token, $crate::Direction::Write, |fd| {
                    let control = &mut rustix::net::SendAncillaryBuffer::default();
                    $crate::arch::written(rustix::net::sendmsg(fd, bufs, control, $crate::net::SEND))
                })
            }
        }
    };
}

pub(super) use byte_stream;
