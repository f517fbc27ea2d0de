//! The poller without the reactor, under somebody else's executor: a TCP echo server of `async` functions.
//!
//! ```text
//! cargo run --release --features alloc --example async_echo -- --listen 127.0.0.1:7778
//! socat - TCP:127.0.0.1:7778
//! ```
//!
//! This is the whole of a runtime: a table of wakers beside the poller, whose waiters are places in that table; and a loop that runs tasks
//! until none is ready, then lets the poller say whom to wake.

use core::cell::RefCell;
use core::future::poll_fn;
use core::net::SocketAddr;
use core::task::{Poll, Waker};
use core::time::Duration;
use std::process::ExitCode;
use std::rc::Rc;

use async_executor::LocalExecutor;
use clap::Parser;
use netpoll::net::{TcpListener, TcpStream, Unopened};
use netpoll::{BoxedPollerStorage, Direction, Error, Instant, Io, Poller, Timeout, Token, Waiter};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Echoes what each TCP client sends, with async functions
#[derive(Parser)]
#[command(name = "async_echo")]
struct Arguments {
    /// Where clients connect; port 0 lets the system choose
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7778")]
    listen: SocketAddr,

    /// How many descriptors at once: the listener and the clients
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    capacity: u32,

    /// When a silent client is disconnected, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1..))]
    idle_timeout: u64,
}

#[derive(Clone)]
struct Driver(Rc<RefCell<Inner>>);

struct Inner {
    poller: Poller<'static>,
    /// Of those who wait for a descriptor: two for each, one for each direction.
    wakers: Vec<Option<Waker>>,
    /// Of those who sleep, with the time at which they are to be woken.
    alarms: Vec<(Instant, Waker)>,
}

/// For operations that never wait.
const NOBODY: Waiter = Waiter::new(u32::MAX);

impl Driver {
    /// Makes a future of a step: whenever it says `Pending`, the task's waker is left where the poller's waiter points to.
    async fn wait<T>(&self, token: Token, direction: Direction, mut step: impl FnMut(&mut Io<'_>) -> Poll<T>) -> T {
        let place = token.index() * 2 + u32::from(direction == Direction::Write);
        poll_fn(|cx| {
            let Inner { poller, wakers, .. } = &mut *self.0.borrow_mut();
            let answer = step(&mut poller.io(Waiter::new(place)));
            if answer.is_pending() {
                let waker = &mut wakers[place as usize];
                match waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => *waker = Some(cx.waker().clone()),
                }
            }
            answer
        })
        .await
    }

    fn now<T>(&self, act: impl FnOnce(&mut Io<'_>) -> T) -> T {
        act(&mut self.0.borrow_mut().poller.io(NOBODY))
    }

    async fn sleep(&self, time: Duration) {
        let until = self.now(|io| io.now()) + time;
        poll_fn(|cx| {
            if self.now(|io| io.now()) >= until {
                return Poll::Ready(());
            }
            self.0.borrow_mut().alarms.push((until, cx.waker().clone()));
            Poll::Pending
        })
        .await
    }

    async fn read(&self, stream: &TcpStream, buf: &mut [u8]) -> Result<usize, Error> {
        self.wait(stream.token(), Direction::Read, |io| stream.read(io, buf)).await
    }

    async fn write_all(&self, stream: &TcpStream, buf: &[u8]) -> Result<(), Error> {
        let mut sent = 0;
        self.wait(stream.token(), Direction::Write, |io| stream.write_all(io, buf, &mut sent)).await
    }

    async fn accept(&self, listener: &TcpListener) -> Result<Unopened<TcpStream>, Error> {
        self.wait(listener.token(), Direction::Read, |io| listener.accept(io)).await.map(|(socket, _)| socket)
    }
}

/// Closes its descriptor wherever the task ends.
struct Connection {
    driver: Driver,
    stream: TcpStream,
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = self.driver.now(|io| self.stream.close(io));
    }
}

async fn echo(connection: Connection, idle: Duration) -> Result<(), Error> {
    let Connection { driver, stream } = &connection;
    let mut buf = [0; 4096];
    loop {
        // For both directions: a client that does not read holds its place no longer than one that does not write.
        driver.now(|io| stream.set_timeout(io, Some(idle)))?;
        match driver.read(stream, &mut buf).await? {
            0 => return Ok(()),
            n => driver.write_all(stream, &buf[..n]).await?,
        }
    }
}

async fn serve(driver: Driver, listener: TcpListener, executor: Rc<LocalExecutor<'static>>, idle: Duration) -> Result<(), Error> {
    /// While the table is full, or the system has no descriptors, the listener looks again after this time.
    const TRY_AGAIN: Duration = Duration::from_millis(100);
    loop {
        match driver.accept(&listener).await {
            Ok(socket) => match driver.now(|io| socket.open(io)) {
                Ok(stream) => {
                    let connection = Connection { driver: driver.clone(), stream };
                    executor.spawn(echo(connection, idle)).detach();
                }
                Err(rejected) => eprintln!("async_echo: client turned away: {rejected}"),
            },
            Err(Error::Closed) => return Err(Error::Closed),
            Err(error) => {
                if error != Error::Full {
                    eprintln!("async_echo: {error}");
                }
                driver.sleep(TRY_AGAIN).await;
            }
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Error> {
    let storage = Box::leak(Box::new(BoxedPollerStorage::with_capacity(arguments.capacity as usize)));
    let mut poller = Poller::new(storage)?;
    let breaker = poller.breaker();
    if let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) {
        std::thread::spawn(move || signals.forever().try_for_each(|_| breaker.wake()));
    }
    let listener = TcpListener::bind(arguments.listen)?;
    println!("async_echo: listening on {}", listener.local_addr()?);
    let listener = listener.open(&mut poller.io(NOBODY))?;

    let wakers = vec![None; arguments.capacity as usize * 2];
    let driver = Driver(Rc::new(RefCell::new(Inner { poller, wakers, alarms: Vec::new() })));
    let executor = Rc::new(LocalExecutor::new());
    let idle = Duration::from_millis(arguments.idle_timeout);
    executor.spawn(serve(driver.clone(), listener, executor.clone(), idle)).detach();
    loop {
        while executor.try_tick() {}
        let Inner { poller, wakers, alarms } = &mut *driver.0.borrow_mut();
        let timeout = alarms.iter().map(|(at, _)| *at).min().map_or(Timeout::Never, Timeout::At);
        let polled = poller.poll(timeout, |waiter| {
            if let Some(waker) = wakers.get_mut(waiter.get() as usize).and_then(Option::take) {
                waker.wake();
            }
        })?;
        if polled.woken {
            return Ok(());
        }
        let now = poller.io(NOBODY).now();
        alarms.extract_if(.., |(at, _)| *at <= now).for_each(|(_, waker)| waker.wake());
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("async_echo: {error}");
            ExitCode::FAILURE
        }
    }
}
