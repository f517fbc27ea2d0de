//! tokio, on its single-threaded runtime: a task and a buffer for each connection. An idle deadline is `timeout` around each read, or, which is
//! cheaper, one `Sleep` that is pushed out.

use std::net::TcpListener;
use std::pin::pin;
use std::time::Duration;

use futures_lite::future::or;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

pub fn natural(listener: TcpListener, buffer: usize, idle: Option<Duration>) {
    serve(listener, move |stream| async move {
        match idle {
            None => echo(stream, buffer).await,
            Some(idle) => echo_timeout(stream, buffer, idle).await,
        }
    });
}

pub fn reset(listener: TcpListener, buffer: usize, idle: Option<Duration>) {
    serve(listener, move |stream| async move {
        match idle {
            None => echo(stream, buffer).await,
            Some(idle) => echo_reset(stream, buffer, idle).await,
        }
    });
}

fn serve<F: Future<Output = Option<()>> + Send + 'static>(listener: TcpListener, client: impl Fn(TcpStream) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(client(stream));
            }
        }
    });
}

async fn echo(mut stream: TcpStream, buffer: usize) -> Option<()> {
    let mut buf = vec![0; buffer];
    loop {
        let len = stream.read(&mut buf).await.ok().filter(|len| *len > 0)?;
        stream.write_all(&buf[..len]).await.ok()?;
    }
}

async fn echo_timeout(mut stream: TcpStream, buffer: usize, idle: Duration) -> Option<()> {
    let mut buf = vec![0; buffer];
    loop {
        let len = timeout(idle, stream.read(&mut buf)).await.ok()?.ok().filter(|len| *len > 0)?;
        stream.write_all(&buf[..len]).await.ok()?;
    }
}

async fn echo_reset(mut stream: TcpStream, buffer: usize, idle: Duration) -> Option<()> {
    let mut buf = vec![0; buffer];
    let mut silence = pin!(sleep(idle));
    loop {
        let read = async { stream.read(&mut buf).await.ok().filter(|len| *len > 0) };
        let len = or(read, async {
            silence.as_mut().await;
            None
        })
        .await?;
        stream.write_all(&buf[..len]).await.ok()?;
        silence.as_mut().reset(Instant::now() + idle);
    }
}
