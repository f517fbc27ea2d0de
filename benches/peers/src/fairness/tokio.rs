//! tokio, on one thread: a task for each connection.

use std::net::TcpStream;

use tokio::io::AsyncReadExt;
use tokio::runtime::Builder;

use super::{Counters, READ};

pub fn serve(counters: &'static Counters, mut streams: Vec<TcpStream>) {
    Builder::new_current_thread().enable_io().build().unwrap().block_on(async {
        let quiet = streams.pop().unwrap();
        for stream in streams {
            tokio::spawn(flooded(counters, stream));
        }
        tokio::spawn(quietly(counters, quiet)).await.unwrap();
    });
}

async fn flooded(counters: &'static Counters, stream: TcpStream) {
    let mut stream = tokio::net::TcpStream::from_std(stream).unwrap();
    while stream.read(&mut [0; READ]).await.unwrap() > 0 {
        counters.count();
    }
}

async fn quietly(counters: &'static Counters, stream: TcpStream) {
    let mut stream = tokio::net::TcpStream::from_std(stream).unwrap();
    while !counters.is_over() && stream.read(&mut [0; READ]).await.unwrap() > 0 {
        counters.has_run();
    }
}
