//! async-io under a single-threaded executor, as smol has it: a task and a buffer for each connection.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use async_executor::LocalExecutor;
use async_io::Async;
use futures_lite::{AsyncReadExt, AsyncWriteExt};

pub fn serve(listener: TcpListener, buffer: usize, _: Option<Duration>) {
    let executor = LocalExecutor::new();
    async_io::block_on(executor.run(async {
        let listener = Async::new(listener).unwrap();
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                executor.spawn(echo(stream, buffer)).detach();
            }
        }
    }))
}

async fn echo(mut stream: Async<TcpStream>, buffer: usize) -> Option<()> {
    let mut buf = vec![0; buffer];
    loop {
        let len = stream.read(&mut buf).await.ok().filter(|len| *len > 0)?;
        stream.write_all(&buf[..len]).await.ok()?;
    }
}
