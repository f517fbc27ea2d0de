//! A Modbus gateway as it is written with tokio-modbus: a server of its own, whose service asks the line, one request at a time.
//! Usage: gateway-tokio-modbus DEVICE

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serial2_tokio::SerialPort;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_modbus::client::{Client, Context, rtu};
use tokio_modbus::prelude::*;
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::{Server, accept_tcp_connection};
use tokio_modbus::{ExceptionCode, SlaveRequest};

const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct Gateway(Arc<Mutex<Context>>);

impl Service for Gateway {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = Pin<Box<dyn Future<Output = Result<Response, ExceptionCode>> + Send>>;

    fn call(&self, SlaveRequest { slave, request }: SlaveRequest<'static>) -> Self::Future {
        let line = Arc::clone(&self.0);
        Box::pin(async move {
            // In the order in which they come: a queue.
            let mut line = line.lock().await;
            line.set_slave(Slave(slave));
            match timeout(RESPONSE_TIMEOUT, line.call(request)).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(ExceptionCode::GatewayPathUnavailable),
                Err(_) => Err(ExceptionCode::GatewayTargetDevice),
            }
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let device = std::env::args().nth(1).ok_or_else(|| io::Error::other("usage: gateway-tokio-modbus DEVICE"))?;
    let gateway = Gateway(Arc::new(Mutex::new(rtu::attach(SerialPort::open(device, 115_200)?))));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("gateway: tcp {}", listener.local_addr()?);
    let serve = |stream: tokio::net::TcpStream, address| {
        let gateway = gateway.clone();
        async move {
            stream.set_nodelay(true)?;
            accept_tcp_connection(stream, address, move |_| Ok(Some(gateway.clone())))
        }
    };
    Server::new(listener).serve(&serve, |error| eprintln!("{error}")).await
}
