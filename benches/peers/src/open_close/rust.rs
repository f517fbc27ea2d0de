//! mio, polling, calloop, tokio and async-io.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use ::mio::unix::SourceFd;
use ::tokio::io::unix::AsyncFd;

use super::{counter, turns};
use crate::tasks::yield_now;
use crate::work::{Case, Work};

/// A closure that does so many operations.
struct Closure<F>(F);

impl<F: FnMut(u64)> Work for Closure<F> {
    fn run(&mut self, ops: u64) {
        self.0(ops)
    }
}

pub fn mio(case: &Case) -> Box<dyn Work> {
    let (turns, fd, stays) = (turns(case), counter(), counter());
    let mut poll = ::mio::Poll::new().expect("a poll");
    let mut events = ::mio::Events::with_capacity(256);
    let (token, interest) = (::mio::Token(1), ::mio::Interest::READABLE);
    poll.registry().register(&mut SourceFd(&stays.as_raw_fd()), ::mio::Token(0), interest).expect("an epoll");
    Box::new(Closure(move |ops| {
        let _open = &stays;
        for _ in 0..ops {
            poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), token, interest).expect("an epoll");
            if turns {
                poll.poll(&mut events, Some(Duration::ZERO)).expect("a wait");
            }
            poll.registry().deregister(&mut SourceFd(&fd.as_raw_fd())).expect("an epoll");
            if turns {
                poll.poll(&mut events, Some(Duration::ZERO)).expect("a wait");
            }
        }
    }))
}

pub fn polling(case: &Case) -> Box<dyn Work> {
    let (turns, fd, stays) = (turns(case), counter(), counter());
    let (poller, mut events) = (::polling::Poller::new().expect("a poller"), ::polling::Events::new());
    let add = move |poller: &::polling::Poller, fd: &OwnedFd| {
        // SAFETY: it lives as long as the poller, and is removed before it is closed.
        unsafe { poller.add_with_mode(fd, ::polling::Event::readable(1), ::polling::PollMode::Edge) }.expect("an epoll");
    };
    add(&poller, &stays);
    Box::new(Closure(move |ops| {
        let _open = &stays;
        let mut turn = |poller: &::polling::Poller| {
            if turns {
                events.clear();
                poller.wait(&mut events, Some(Duration::ZERO)).expect("a wait");
            }
        };
        for _ in 0..ops {
            add(&poller, &fd);
            turn(&poller);
            poller.delete(&fd).expect("an epoll");
            turn(&poller);
        }
    }))
}

pub fn calloop(case: &Case) -> Box<dyn Work> {
    use ::calloop::{EventLoop, Interest, Mode, PostAction, generic::Generic};
    let (turns, fd) = (turns(case), counter());
    let mut calloop = EventLoop::<()>::try_new().expect("a loop");
    let stays = Generic::new(counter(), Interest::READ, Mode::Edge);
    calloop.handle().insert_source(stays, |_, _, _| Ok(PostAction::Continue)).expect("an epoll");
    let number = fd.as_raw_fd();
    Box::new(Closure(move |ops| {
        let _open = &fd;
        for _ in 0..ops {
            // SAFETY: it is open for as long as this closure lives.
            let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
            let source = Generic::new(borrowed, Interest::READ, Mode::Edge);
            let token = calloop.handle().insert_source(source, |_, _, _| Ok(PostAction::Continue)).expect("an epoll");
            if turns {
                calloop.dispatch(Some(Duration::ZERO), &mut ()).expect("a wait");
            }
            calloop.handle().remove(token);
            if turns {
                calloop.dispatch(Some(Duration::ZERO), &mut ()).expect("a wait");
            }
        }
    }))
}

pub fn tokio(case: &Case) -> Box<dyn Work> {
    let turns = turns(case);
    let runtime = ::tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // SAFETY: the descriptor is owned, and the same all the time.
    let open = |fd| unsafe { AsyncFd::register_with_interest(fd, ::tokio::io::Interest::READABLE) }.expect("an epoll");
    let stays = runtime.block_on(async { open(counter()) });
    let mut fd = Some(counter());
    Box::new(Closure(move |ops| {
        let _open = &stays;
        runtime.block_on(async {
            for _ in 0..ops {
                let opened = fd.take().map(open);
                if turns {
                    ::tokio::task::yield_now().await;
                }
                fd = opened.map(AsyncFd::into_inner);
                if turns {
                    ::tokio::task::yield_now().await;
                }
            }
        });
    }))
}

pub fn async_io(case: &Case) -> Box<dyn Work> {
    let turns = turns(case);
    let open = |fd| ::async_io::Async::new_nonblocking(fd).expect("an epoll");
    let stays = open(counter());
    let mut fd = Some(counter());
    Box::new(Closure(move |ops| {
        let _open = &stays;
        ::async_io::block_on(async {
            for _ in 0..ops {
                let opened = fd.take().map(open);
                if turns {
                    yield_now().await;
                }
                fd = opened.map(|opened| opened.into_inner().expect("an epoll"));
                if turns {
                    yield_now().await;
                }
            }
        });
    }))
}
