//! Pipes and FIFOs, against the descriptors of the standard library and of rustix.

#![cfg(target_os = "linux")]

#[path = "util/os.rs"]
mod os_util;
#[path = "util/reactor.rs"]
mod util;

use std::process::{Command, Stdio};
use std::task::{Poll, ready};
use std::time::Duration;

use netpoll::Unopened;
use netpoll::os::{self, PIPE_BUF, PipeReader, PipeWriter};
use netpoll::{Context, Direction, Errno, Error, Io, OwnedFd, Poller, Reactor, ReactorStorage};
use os_util::{Folder, ME, assert_flags, assert_ownership, assert_times_out, assert_waits, block, open, open_path, with_poller};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::{read, write};
use util::{DONE, Script, script};

/// Both ends, opened.
fn with_pipe<T>(test: impl FnOnce(&mut Poller<'_>, PipeReader, PipeWriter) -> T) -> T {
    with_poller(|poller| {
        let (reader, writer) = os::pipe().unwrap();
        let (reader, writer) = (open(poller, reader), open(poller, writer));
        test(poller, reader, writer)
    })
}

fn read_some(poller: &mut Poller<'_>, reader: &PipeReader) -> Result<Vec<u8>, Error> {
    let mut buf = [0; 100];
    block(poller, |io| reader.read(io, &mut buf)).map(|n| buf[..n].to_vec())
}

/// Writes pages until there is no room; says how many.
fn fill(poller: &mut Poller<'_>, writer: &PipeWriter) -> usize {
    let mut pages = 0;
    while let Poll::Ready(written) = writer.write(&mut poller.io(ME), &[b'.'; PIPE_BUF]) {
        assert_eq!(written, Ok(PIPE_BUF));
        pages += 1;
    }
    pages
}

/// Takes exactly as much out, which must be there.
fn take(poller: &mut Poller<'_>, reader: &PipeReader, count: usize) {
    let mut filled = 0;
    assert_eq!(reader.read_exact(&mut poller.io(ME), &mut vec![0; count], &mut filled), Poll::Ready(Ok(())));
}

// What is written comes out, what was written before the writer closed as well, and then the end, as often as it is asked for.
#[test]
fn data_then_end() {
    with_pipe(|poller, reader, writer| {
        assert_waits(poller, |io| reader.read(io, &mut [0; 8]));
        assert_eq!(block(poller, |io| writer.write(io, b"hello")), Ok(5));
        assert_eq!(read_some(poller, &reader).unwrap(), b"hello");
        assert_waits(poller, |io| reader.read(io, &mut [0; 8]));
        assert_eq!(block(poller, |io| writer.write(io, b"world")), Ok(5));
        drop(writer.close(&mut poller.io(ME)).unwrap());
        assert_eq!(block(poller, |io| reader.read(io, &mut [0; 2])), Ok(2));
        assert_eq!(read_some(poller, &reader).unwrap(), b"rld");
        assert_eq!((read_some(poller, &reader).unwrap(), read_some(poller, &reader).unwrap()), (vec![], vec![]));
        let mut filled = 0;
        assert_eq!(block(poller, |io| reader.read_exact(io, &mut [0; 4], &mut filled)), Err(Error::UnexpectedEof));
    });
}

// Whoever waits for data is run when the writer is gone. Go's TestCloseWithBlockingReadByNewFile, in one thread.
#[test]
fn end_comes_to_whoever_waits() {
    with_pipe(|poller, reader, writer| {
        assert_waits(poller, |io| reader.read(io, &mut [0; 8]));
        drop(writer.close(&mut poller.io(ME)).unwrap());
        assert_eq!(read_some(poller, &reader).unwrap(), b"");
    });
}

// Nothing goes through if nothing is offered, and nothing is looked at, nor waited for.
#[test]
fn empty_buffers() {
    with_pipe(|poller, reader, writer| {
        assert_waits(poller, |io| reader.read(io, &mut [0; 8]));
        assert_eq!(reader.read(&mut poller.io(ME), &mut []), Poll::Ready(Ok(0)));
        drop(reader.close(&mut poller.io(ME)).unwrap());
        assert_eq!(writer.write(&mut poller.io(ME), &[]), Poll::Ready(Ok(0))); // not EPIPE
        assert_eq!(reader.read(&mut poller.io(ME), &mut []), Poll::Ready(Err(Error::Closed)));
    });
}

// Go's TestEPIPE. The standard library has the signal ignored, as the documentation asks for.
#[test]
fn nobody_reads() {
    with_pipe(|poller, reader, writer| {
        drop(reader.close(&mut poller.io(ME)).unwrap());
        for _ in 0..3 {
            let error = block(poller, |io| writer.write(io, b"hi")).unwrap_err();
            assert_eq!((error, error.to_string().as_str()), (Error::Os(Errno::PIPE), "broken pipe"));
        }
    });
}

// A full pipe makes its writer wait; the end of its reader comes to it. Linux says ERR alone.
#[test]
fn nobody_reads_any_more() {
    with_pipe(|poller, reader, writer| {
        fill(poller, &writer);
        assert_waits(poller, |io| writer.write(io, b"hi"));
        drop(reader.close(&mut poller.io(ME)).unwrap());
        assert_eq!(block(poller, |io| writer.write(io, b"hi")), Err(Error::Os(Errno::PIPE)));
    });
}

// There is room when a page has been emptied, and not before; nothing that was accepted is lost.
#[test]
fn full_pipe_has_room_after_a_page() {
    with_pipe(|poller, reader, writer| {
        let pages = fill(poller, &writer);
        take(poller, &reader, PIPE_BUF - 1);
        assert_waits(poller, |io| writer.write(io, b"x"));
        take(poller, &reader, 1);
        assert_eq!(block(poller, |io| writer.write(io, b"x")), Ok(1));
        take(poller, &reader, (pages - 1) * PIPE_BUF);
        assert_eq!(read_some(poller, &reader).unwrap(), b"x");
    });
}

// Up to PIPE_BUF bytes wait for room for all of them; more go in part.
#[test]
fn small_writes_are_whole() {
    with_pipe(|poller, reader, writer| {
        let pages = fill(poller, &writer);
        take(poller, &reader, PIPE_BUF);
        assert_eq!(block(poller, |io| writer.write(io, &[1; PIPE_BUF - 1000])), Ok(PIPE_BUF - 1000));
        assert_waits(poller, |io| writer.write(io, &[2; 1001])); // there is room for 1000
        take(poller, &reader, PIPE_BUF);
        assert_eq!(block(poller, |io| writer.write(io, &[2; 1001])), Ok(1001));
        take(poller, &reader, (pages - 2) * PIPE_BUF);
        take(poller, &reader, PIPE_BUF - 1000);
        take(poller, &reader, 1001);
        fill(poller, &writer);
        take(poller, &reader, 2 * PIPE_BUF);
        assert_eq!(block(poller, |io| writer.write(io, &[3; 3 * PIPE_BUF])), Ok(2 * PIPE_BUF));
    });
}

// More than a pipe holds goes through it between two handlers of one reactor, in pieces that fit nowhere.
#[test]
fn more_than_it_holds() {
    const LENGTH: usize = 1_000_003;
    let byte = |index: usize| (index % 251) as u8;
    let mut storage = ReactorStorage::<Script<Vec<u8>>, 2, 2>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (source, sink) = os::pipe().unwrap();
    let data: Vec<u8> = (0..LENGTH).map(byte).collect();
    let mut sent = 0;
    reactor.spawn_with(sink, |writer| script(move |cx| writer.write_all(cx, &data, &mut sent))).unwrap();
    reactor
        .spawn_with(source, |reader| {
            let mut buf = [0; 777];
            script(move |cx: &mut Context<'_, Script<Vec<u8>>>| {
                loop {
                    match ready!(reader.read(cx, &mut buf)).unwrap() {
                        0 => return DONE,
                        n => cx.shared().extend_from_slice(&buf[..n]),
                    }
                }
            })
        })
        .unwrap();
    let mut received = Vec::new();
    reactor.run(&mut received).unwrap(); // until both have finished
    assert_eq!(received.len(), LENGTH);
    assert!(received.iter().enumerate().all(|(index, &is)| is == byte(index)));
}

#[test]
fn deadlines() {
    with_pipe(|poller, reader, writer| {
        assert_times_out(poller, |io, after| reader.set_read_timeout(io, after), |io| reader.read(io, &mut [0; 8]));
        block(poller, |io| writer.write(io, b"late")).unwrap();
        // Past deadlines come first, also when data is there, which stays.
        assert_eq!(block(poller, |io| reader.read(io, &mut [0; 8])), Err(Error::TimedOut));
        reader.set_read_deadline(&mut poller.io(ME), None).unwrap();
        assert_eq!(read_some(poller, &reader).unwrap(), b"late");
        fill(poller, &writer);
        assert_times_out(poller, |io, after| writer.set_write_timeout(io, after), |io| writer.write(io, b"x"));
        take(poller, &reader, PIPE_BUF);
        writer.set_write_deadline(&mut poller.io(ME), None).unwrap();
        assert_eq!(block(poller, |io| writer.write(io, b"x")), Ok(1));
    });
}

#[test]
fn each_end_has_one_owner() {
    let (reader, other) = os::pipe().unwrap();
    assert_ownership(reader, PipeReader::token, |reader, io| reader.read(io, &mut [0; 8]));
    drop(other);
    let (other, writer) = os::pipe().unwrap();
    assert_ownership(writer, PipeWriter::token, |writer, io| writer.write(io, b"x"));
    drop(other);
}

#[test]
fn made_here_never_blocks_and_is_not_inherited() {
    let folder = Folder::new();
    let path = folder.fifo("fifo");
    let (reader, writer) = os::pipe().unwrap();
    assert_flags(&reader);
    assert_flags(&writer);
    assert_flags(PipeReader::open_fifo_read_write(&path).unwrap());
    let reader = PipeReader::open_fifo(&path).unwrap();
    assert_flags(&reader);
    assert_flags(PipeWriter::open_fifo(&path).unwrap());
}

// A blocking end is refused, and comes back; a child's output is read as the documentation has it.
#[test]
fn ends_made_elsewhere() {
    let mut child = Command::new("echo").arg("from a child").stdout(Stdio::piped()).spawn().unwrap();
    let ours = OwnedFd::from(child.stdout.take().unwrap());
    with_poller(|poller| {
        let rejected = Unopened::<PipeReader>::from(ours).open(&mut poller.io(ME)).unwrap_err();
        assert_eq!(rejected.error, Error::Os(Errno::INVAL));
        let ours = OwnedFd::from(rejected.value);
        rustix::io::ioctl_fionbio(&ours, true).unwrap();
        let reader = open(poller, Unopened::<PipeReader>::from(ours));
        let mut heard = Vec::new();
        loop {
            match read_some(poller, &reader).unwrap() {
                some if some.is_empty() => break,
                some => heard.extend(some),
            }
        }
        assert_eq!(heard, b"from a child\n");
    });
    child.wait().unwrap();
}

// The parent's mode is not the child's: what a child inherits of a pipe of the standard library's stays blocking.
#[test]
fn modes_of_the_ends_are_their_own() {
    let (ours, theirs) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&ours, true).unwrap();
    assert!(fcntl_getfl(&ours).unwrap().contains(OFlags::NONBLOCK));
    assert!(!fcntl_getfl(&theirs).unwrap().contains(OFlags::NONBLOCK));
}

// ---- FIFOs

// Without a writer there is nothing to wait for: before the first, and after the last. A file that is opened again begins anew.
#[test]
fn fifo_without_a_writer_is_at_its_end() {
    if !util::has_fifos("fifo_without_a_writer_is_at_its_end") {
        return;
    }
    let folder = Folder::new();
    let path = folder.fifo("fifo");
    with_poller(|poller| {
        for _ in 0..2 {
            let reader = open(poller, PipeReader::open_fifo(&path).unwrap());
            assert_eq!(read_some(poller, &reader).unwrap(), b"");
            let writer = open_path(&path, OFlags::WRONLY);
            assert_waits(poller, |io| reader.read(io, &mut [0; 8]));
            write(&writer, b"first").unwrap();
            assert_eq!(read_some(poller, &reader).unwrap(), b"first");
            assert_waits(poller, |io| reader.read(io, &mut [0; 8]));
            drop(writer);
            assert_eq!(read_some(poller, &reader).unwrap(), b"");
            drop(reader.close(&mut poller.io(ME)).unwrap());
        }
    });
}

/// The documentation's.
fn read_command(io: &mut Io<'_>, fifo: &PipeReader, buf: &mut [u8]) -> Poll<Result<usize, Error>> {
    loop {
        match ready!(fifo.read(io, buf))? {
            0 => io.clear_ready(fifo.token(), Direction::Read)?,
            n => return Poll::Ready(Ok(n)),
        }
        ready!(io.poll_ready(fifo.token(), Direction::Read))?;
    }
}

// The documented way to wait for the next writer loses none, whether it comes while somebody waits or not, and does not spin.
#[test]
fn fifo_waits_for_the_next_writer() {
    if !util::has_fifos("fifo_waits_for_the_next_writer") {
        return;
    }
    if util::EVENT_PORT {
        return util::skip("fifo_waits_for_the_next_writer", "event ports report at each wait that there is no writer");
    }
    let folder = Folder::new();
    let path = folder.fifo("fifo");
    with_poller(|poller| {
        let mut buf = [0; 8];
        let reader = open(poller, PipeReader::open_fifo(&path).unwrap());
        for round in 0..3 {
            assert_waits(poller, |io| read_command(io, &reader, &mut buf));
            let writer = open_path(&path, OFlags::WRONLY);
            if round == 1 {
                assert_waits(poller, |io| read_command(io, &reader, &mut buf));
            }
            write(&writer, &[round]).unwrap();
            drop(writer);
            assert_eq!(block(poller, |io| read_command(io, &reader, &mut buf)), Ok(1));
            assert_eq!(buf[0], round);
            // One that says nothing wakes, and no more.
            drop(open_path(&path, OFlags::WRONLY));
            poller.poll(Duration::ZERO, |_| ()).unwrap();
        }
    });
}

// Opened for writing too, it has no end.
#[test]
fn fifo_of_a_reader_that_writes_has_no_end() {
    if !util::has_fifos("fifo_of_a_reader_that_writes_has_no_end") {
        return;
    }
    let folder = Folder::new();
    let path = folder.fifo("fifo");
    with_poller(|poller| {
        let reader = open(poller, PipeReader::open_fifo_read_write(&path).unwrap());
        assert_waits(poller, |io| reader.read(io, &mut [0; 8]));
        for text in [b"one", b"two"] {
            let writer = open(poller, PipeWriter::open_fifo(&path).unwrap());
            assert_eq!(block(poller, |io| writer.write(io, text)), Ok(3));
            drop(writer.close(&mut poller.io(ME)).unwrap());
            assert_eq!(read_some(poller, &reader).unwrap(), text);
            assert_waits(poller, |io| reader.read(io, &mut [0; 8]));
        }
    });
}

// Without a reader there is no writer; with one there is, until it is gone.
#[test]
fn fifo_without_a_reader() {
    if !util::has_fifos("fifo_without_a_reader") {
        return;
    }
    let folder = Folder::new();
    let path = folder.fifo("fifo");
    let error = PipeWriter::open_fifo(&path).unwrap_err();
    assert_eq!((error, error.to_string().as_str()), (Error::Os(Errno::NXIO), "no such device or address"));
    let reader = open_path(&path, OFlags::RDONLY);
    with_poller(|poller| {
        let writer = open(poller, PipeWriter::open_fifo(&path).unwrap());
        assert_eq!(block(poller, |io| writer.write(io, b"hello")), Ok(5));
        assert_eq!(read(&reader, &mut [0; 8]), Ok(5));
        drop(reader);
        assert_eq!(block(poller, |io| writer.write(io, b"hello")), Err(Error::Os(Errno::PIPE)));
    });
}

// What is no FIFO: the words that users know, and the descriptor back.
#[test]
fn paths_of_something_else() {
    let folder = Folder::new();
    let (file, missing) = (folder.file("file", b"content"), folder.path("missing"));
    assert_eq!(PipeReader::open_fifo(&missing).unwrap_err(), Error::Os(Errno::NOENT));
    assert_eq!(PipeWriter::open_fifo(&missing).unwrap_err(), Error::Os(Errno::NOENT));
    assert_eq!(PipeWriter::open_fifo(folder.path(".")).unwrap_err(), Error::Os(Errno::ISDIR));
    assert_eq!(PipeReader::open_fifo("a\0b").unwrap_err(), Error::Os(Errno::INVAL));
    with_poller(|poller| {
        for path in [file.as_path(), folder.path(".").as_path()] {
            let rejected = PipeReader::open_fifo(path).unwrap().open(&mut poller.io(ME)).unwrap_err();
            assert_eq!(rejected.error, Error::NotPollable, "{path:?}");
            assert!(read(OwnedFd::from(rejected.value), &mut [0; 8]).is_ok() || path.is_dir());
        }
        let rejected = PipeWriter::open_fifo(&file).unwrap().open(&mut poller.io(ME)).unwrap_err();
        assert_eq!(rejected.error, Error::NotPollable);
    });
    assert_eq!(std::fs::read(file).unwrap(), b"content");
}
