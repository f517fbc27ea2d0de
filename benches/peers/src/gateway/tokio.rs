//! A Modbus gateway on tokio alone, with what examples/modbus_gateway has: a task for each client with an idle time-out, a task for the
//! line, a queue between them. Frames by modbus-core. Usage: gateway-tokio DEVICE

use std::io;
use std::time::Duration;

use modbus_core::{Exception, rtu, tcp};
use serial2_tokio::SerialPort;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Requests that may wait for the line: 64 clients, each with one.
const QUEUE: usize = 64;

struct Job {
    unit: u8,
    request: Vec<u8>,
    answer: oneshot::Sender<Vec<u8>>,
}

fn refusal(request: &[u8], exception: Exception) -> Vec<u8> {
    vec![request.first().copied().unwrap_or(0) | 0x80, exception as u8]
}

/// One client: a request, its answer, the next request.
async fn serve(mut stream: TcpStream, line: mpsc::Sender<Job>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut input, mut buffer) = (Vec::with_capacity(260), [0; 260]);
    loop {
        while let Some(length) = input.get(4..6).map(|bytes| usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))) {
            if !(2..=254).contains(&length) || input[2..4] != [0, 0] {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let Ok(Some(tcp::DecodedFrame { transaction_id, unit_id, pdu })) = tcp::extract_frame(&input, length - 1) else { break };
            let (answer, answered) = oneshot::channel();
            let job = Job { unit: unit_id, request: pdu.to_vec(), answer };
            line.send(job).await.map_err(io::Error::other)?;
            let answer = answered.await.map_err(io::Error::other)?;
            let [[t0, t1], [l0, l1]] = [transaction_id, 1 + answer.len() as u16].map(u16::to_be_bytes);
            let mut output = vec![t0, t1, 0, 0, l0, l1, unit_id];
            output.extend(answer);
            timeout(IDLE_TIMEOUT, stream.write_all(&output)).await??;
            input.drain(..6 + length);
        }
        match timeout(IDLE_TIMEOUT, stream.read(&mut buffer)).await?? {
            0 => return Ok(()),
            n => input.extend_from_slice(&buffer[..n]),
        }
    }
}

/// The line: one job after the other.
async fn work(mut tty: SerialPort, mut jobs: mpsc::Receiver<Job>) {
    while let Some(Job { unit, request, answer }) = jobs.recv().await {
        let result = match timeout(RESPONSE_TIMEOUT, transact(&mut tty, unit, &request)).await {
            Ok(Ok(pdu)) => pdu,
            Ok(Err(_)) => refusal(&request, Exception::GatewayPathUnavailable),
            Err(_) => refusal(&request, Exception::GatewayTargetDevice),
        };
        let _ = answer.send(result);
    }
}

async fn transact(tty: &mut SerialPort, unit: u8, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut frame = vec![unit];
    frame.extend_from_slice(request);
    frame.extend(rtu::crc16(&frame).to_be_bytes());
    tty.write_all(&frame).await?;
    let (mut heard, mut buffer) = (Vec::with_capacity(256), [0; 256]);
    loop {
        let n = tty.read(&mut buffer).await?;
        heard.extend_from_slice(&buffer[..n]);
        let length = if heard.get(1).is_some_and(|function| function & 0x80 != 0) { Ok(Some(2)) } else { rtu::response_pdu_len(&heard) };
        let Some(length) = length.map_err(|_| io::ErrorKind::InvalidData)? else { continue };
        match rtu::extract_frame(&heard, length) {
            Ok(Some(frame)) if frame.slave == unit => return Ok(frame.pdu.to_vec()),
            Ok(Some(_)) | Err(_) => return Err(io::ErrorKind::InvalidData.into()),
            Ok(None) => {}
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let device = std::env::args().nth(1).ok_or_else(|| io::Error::other("usage: gateway-tokio DEVICE"))?;
    let (line, jobs) = mpsc::channel(QUEUE);
    tokio::spawn(work(SerialPort::open(device, 115_200)?, jobs));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("gateway: tcp {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let line = line.clone();
        tokio::spawn(async move {
            if let Err(error) = serve(stream, line).await {
                eprintln!("{error}");
            }
        });
    }
}
