//! What the kernel announces by netlink: devices and links; what is lost, and who else may talk.

#![cfg(target_os = "linux")]

#[path = "util/reactor.rs"]
mod handlers;
#[path = "util/namespace.rs"]
mod namespace;
mod util;

use std::fs;
use std::io::Write as _;
use std::task::{Poll, ready};
use std::time::Duration;

use handlers::{Answer, Log, run_until, script};
use namespace::{in_own_network, ip};
use netpoll::linux::{Netlink, Notice, Uevents, protocol};
use netpoll::{Errno, Error, PollerStorage, Reactor, ReactorStorage, Timeout, Unopened, Waiter};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SendFlags, SocketType, sockopt};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use util::{TestPoller, alone, dup, eventually, skip};

/// It does come; what never comes is a failure, not a hang.
const SOON: Timeout = Timeout::After(util::PATIENCE);

/// Owned.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Event { action: String, devpath: String, interface: String },
    Overrun,
}

fn heard(poller: &mut TestPoller<'_>, uevents: &Uevents) -> Poll<Result<Heard, Error>> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
    uevents.recv(&mut poller.io(Waiter::new(1)), &mut [0; Uevents::BUFFER]).map_ok(|notice| match notice {
        Notice::Message(event) => {
            assert!(event.is("ACTION", &text(event.action())) && event.is("DEVPATH", &text(event.devpath())), "{event:?}");
            assert!(event.get("SUBSYSTEM").is_some() && event.get("SEQNUM").is_some(), "{event:?}");
            let interface = text(event.get("INTERFACE").unwrap_or_default());
            Heard::Event { action: text(event.action()), devpath: text(event.devpath()), interface }
        }
        Notice::Overrun => Heard::Overrun,
    })
}

/// Reads until it waits.
fn all_heard(poller: &mut TestPoller<'_>, uevents: &Uevents) -> Vec<Heard> {
    let mut all = Vec::new();
    while let Poll::Ready(answer) = heard(poller, uevents) {
        all.push(answer.unwrap());
    }
    all
}

fn event(action: &str, interface: &str) -> Heard {
    Heard::Event { action: action.into(), devpath: format!("/devices/virtual/net/{interface}"), interface: interface.into() }
}

fn open<K: netpoll::Descriptor>(poller: &mut TestPoller<'_>, unopened: Unopened<K>) -> K {
    unopened.open(&mut poller.io(Waiter::new(1))).unwrap()
}

#[test]
fn interfaces_come_and_go() {
    const TEST: &str = "interfaces_come_and_go";
    in_own_network(TEST, || {
        let mut storage = PollerStorage::<1>::new();
        let mut poller = TestPoller::new(&mut storage);
        let uevents = open(&mut poller, Uevents::new().unwrap());
        assert_eq!(heard(&mut poller, &uevents), Poll::Pending);
        if ip(TEST, "link add here0 type veth peer name there0").is_none() {
            return;
        }
        assert_eq!(poller.turn(SOON), [1]);
        let all = all_heard(&mut poller, &uevents);
        assert!(all.contains(&event("add", "here0")) && all.contains(&event("add", "there0")), "{all:?}");
        poller.expect_nobody();
        ip(TEST, "link set here0 name new0").unwrap();
        assert_eq!(poller.turn(SOON), [1]);
        assert!(all_heard(&mut poller, &uevents).contains(&event("move", "new0")));
        ip(TEST, "link delete new0").unwrap();
        eventually("the end", || {
            poller.turn(Timeout::Now);
            all_heard(&mut poller, &uevents).contains(&event("remove", "new0"))
        });
    });
}

/// A program asks the kernel to announce a device that is there: `udevadm trigger`.
#[test]
fn a_device_is_announced_again() {
    const TEST: &str = "a_device_is_announced_again";
    let trigger = fs::OpenOptions::new().write(true).open("/sys/devices/virtual/mem/null/uevent");
    let mut trigger = match trigger {
        Ok(file) => file,
        Err(error) => return skip(TEST, format_args!("/sys/devices/virtual/mem/null/uevent: {error}")),
    };
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let uevents = open(&mut poller, Uevents::new().unwrap());
    // Others may have devices of their own: this one is known by its mark.
    let mark = format!("00000000-0000-4000-8000-{:012}", std::process::id());
    trigger.write_all(format!("change {mark} NETPOLL=1").as_bytes()).unwrap();
    let mut found = false;
    eventually("the event", || {
        poller.turn(Timeout::Now);
        while let Poll::Ready(notice) = uevents.recv(&mut poller.io(Waiter::new(1)), &mut [0; Uevents::BUFFER]) {
            match notice.unwrap() {
                Notice::Message(event) if event.is("SYNTH_UUID", &mark) => {
                    assert_eq!((event.action(), event.devpath()), (&b"change"[..], &b"/devices/virtual/mem/null"[..]));
                    assert!(event.is("SUBSYSTEM", "mem") && event.is("DEVNAME", "null") && event.is("MAJOR", "1"));
                    assert!(event.is("SYNTH_ARG_NETPOLL", "1"));
                    found = true;
                }
                _ => {}
            }
        }
        found
    });
}

/// Case 94, G58: an overrun is said once, what was not lost comes after it, and it goes on; no spin.
#[test]
fn uevents_overrun() {
    const TEST: &str = "uevents_overrun";
    in_own_network(TEST, || {
        let mut storage = PollerStorage::<1>::new();
        let mut poller = TestPoller::new(&mut storage);
        let unopened = Uevents::new().unwrap();
        unopened.set_receive_buffer(1).unwrap(); // as little as the kernel gives
        let uevents = open(&mut poller, unopened);
        assert_eq!(heard(&mut poller, &uevents), Poll::Pending);
        for _ in 0..3 {
            if ip(TEST, "link add here0 type veth peer name there0").and_then(|()| ip(TEST, "link delete here0")).is_none() {
                return;
            }
        }
        assert_eq!(poller.turn(SOON), [1]);
        poller.expect_nobody();
        let all = all_heard(&mut poller, &uevents);
        assert_eq!(all.iter().filter(|&heard| *heard == Heard::Overrun).count(), 1, "{all:?}");
        assert!(all.len() > 1, "{all:?}");
        let before = poller.stats();
        assert_eq!(poller.turn(Timeout::After(Duration::from_millis(20))), []);
        assert!(poller.stats().polls - before.polls <= 2);
        ip(TEST, "link add here0 type veth peer name there0").unwrap();
        assert_eq!(poller.turn(SOON), [1]);
        let all = all_heard(&mut poller, &uevents);
        assert!(all.iter().any(|heard| matches!(heard, Heard::Event { action, .. } if action == "add")), "{all:?}");
    });
}

/// Somebody with privilege sends what looks like an event: nobody hears it, and the wait goes on.
#[test]
fn only_the_kernel_is_heard() {
    const TEST: &str = "only_the_kernel_is_heard";
    in_own_network(TEST, || {
        let mut storage = PollerStorage::<1>::new();
        let mut poller = TestPoller::new(&mut storage);
        let unopened = Uevents::new().unwrap();
        let theirs = dup(&unopened);
        let port = SocketAddrNetlink::try_from(rustix::net::getsockname(&theirs).unwrap()).unwrap().pid();
        let uevents = open(&mut poller, unopened);
        assert_eq!(heard(&mut poller, &uevents), Poll::Pending);
        let liar = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, Some(protocol::KOBJECT_UEVENT)).unwrap();
        let lie = b"add@/devices/lie\0ACTION=add\0DEVPATH=/devices/lie\0SUBSYSTEM=tty\0SEQNUM=1\0";
        for address in [SocketAddrNetlink::new(port, 0), SocketAddrNetlink::new(0, 1)] {
            match rustix::net::sendto(&liar, lie, SendFlags::empty(), &address) {
                Ok(_) => {}
                Err(errno) => return skip(TEST, format_args!("nobody may lie here: {errno}")),
            }
            // It has arrived, and wakes: nobody can know before who it is from.
            assert_eq!(poller.turn(SOON), [1]);
            assert_eq!(heard(&mut poller, &uevents), Poll::Pending);
        }
        // What the kernel says in between is heard.
        rustix::net::sendto(&liar, lie, SendFlags::empty(), &SocketAddrNetlink::new(port, 0)).unwrap();
        if ip(TEST, "link add here0 type veth peer name there0").is_none() {
            return;
        }
        poller.expect_waiters(&[1]);
        let all = all_heard(&mut poller, &uevents);
        assert!(all.contains(&event("add", "here0")) && all.iter().all(|heard| *heard != event("add", "lie")), "{all:?}");
        assert!(!all.iter().any(|heard| matches!(heard, Heard::Event { devpath, .. } if devpath == "/devices/lie")), "{all:?}");
    });
}

#[test]
fn a_buffer_that_is_too_small() {
    const TEST: &str = "a_buffer_that_is_too_small";
    in_own_network(TEST, || {
        let mut storage = PollerStorage::<2>::new();
        let mut poller = TestPoller::new(&mut storage);
        let uevents = open(&mut poller, Uevents::new().unwrap());
        let netlink = open(&mut poller, Netlink::route(0).unwrap());
        if ip(TEST, "link add here0 type veth peer name there0").is_none() {
            return;
        }
        let mut io = poller.io(Waiter::new(1));
        for space in [0, 20] {
            let error = match uevents.recv(&mut io, &mut vec![0; space]) {
                Poll::Ready(Err(error)) => error,
                other => panic!("{other:?}"),
            };
            assert_eq!((error, &*error.to_string()), (Error::Os(Errno::MSGSIZE), "message too long"));
        }
        // The next one is as good as ever.
        assert!(matches!(uevents.recv(&mut io, &mut [0; Uevents::BUFFER]), Poll::Ready(Ok(Notice::Message(_)))));
        netlink.send(&mut io, &all_links()).unwrap();
        assert_eq!(netlink.recv(&mut io, &mut [0; 16]), Poll::Ready(Err(Error::Os(Errno::MSGSIZE))));
        assert!(matches!(netlink.recv(&mut io, &mut [0; 8192]), Poll::Ready(Ok(Notice::Message(_)))));
    });
}

/// With privilege any size, without it the system's greatest.
#[test]
fn receive_buffers() {
    const TEST: &str = "receive_buffers";
    const LARGE: usize = 64 << 20;
    alone(|| {
        let greatest: usize = fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap().trim().parse().unwrap();
        let may = capabilities(None).unwrap();
        if may.effective.contains(CapabilitySet::NET_ADMIN) {
            let uevents = Uevents::new().unwrap();
            uevents.set_receive_buffer(LARGE).unwrap();
            assert_eq!(sockopt::socket_recv_buffer_size(&uevents), Ok(2 * LARGE)); // the kernel doubles it, for its own needs
        } else {
            skip(TEST, "half of it: no CAP_NET_ADMIN");
        }
        let mut less = may;
        less.effective -= CapabilitySet::NET_ADMIN;
        set_capabilities(None, less).unwrap();
        assert!(greatest < LARGE);
        let netlink = Netlink::route(0).unwrap();
        netlink.set_receive_buffer(LARGE).unwrap();
        assert_eq!(sockopt::socket_recv_buffer_size(&netlink), Ok(2 * greatest));
        netlink.set_receive_buffer(8192).unwrap();
        assert_eq!(sockopt::socket_recv_buffer_size(&netlink), Ok(2 * 8192));
    });
}

// ---- Links

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const LINKS: u32 = 1;

/// A request for all links.
fn all_links() -> Vec<u8> {
    const NLM_F_REQUEST_DUMP: u16 = 0x301;
    let mut request = Vec::new();
    request.extend(32u32.to_ne_bytes());
    request.extend(RTM_GETLINK.to_ne_bytes());
    request.extend(NLM_F_REQUEST_DUMP.to_ne_bytes());
    request.extend([0; 24]);
    request
}

/// The kind, the index and the name of each message in a datagram.
fn messages(mut datagram: &[u8]) -> Vec<(u16, i32, String)> {
    let mut messages = Vec::new();
    while let Some((len, rest)) = datagram.split_first_chunk() {
        let len = u32::from_ne_bytes(*len) as usize;
        let kind = u16::from_ne_bytes([rest[0], rest[1]]);
        let (mut index, mut name) = (0, String::new());
        if matches!(kind, RTM_NEWLINK | RTM_DELLINK) {
            index = i32::from_ne_bytes(datagram[20..24].try_into().unwrap());
            const IFLA_IFNAME: u16 = 3;
            let mut attributes = &datagram[32..len];
            while attributes.len() > 4 {
                let size = usize::from(u16::from_ne_bytes([attributes[0], attributes[1]]));
                if u16::from_ne_bytes([attributes[2], attributes[3]]) == IFLA_IFNAME {
                    name = String::from_utf8(attributes[4..size - 1].to_owned()).unwrap();
                }
                attributes = &attributes[size.next_multiple_of(4).min(attributes.len())..];
            }
        }
        messages.push((kind, index, name));
        datagram = &datagram[len.next_multiple_of(4).min(datagram.len())..];
    }
    messages
}

/// What a gateway does: it keeps a list of the links, in the order of what it hears, and asks for all of them after an overrun.
#[test]
fn netlink_resyncs_after_an_overrun() {
    const TEST: &str = "netlink_resyncs_after_an_overrun";
    in_own_network(TEST, || {
        let mut storage = ReactorStorage::<_, 1, 1>::new();
        let mut reactor = Reactor::new(&mut storage).unwrap();
        let overruns = Log::new();
        let unopened = Netlink::route(LINKS).unwrap();
        unopened.set_receive_buffer(1).unwrap();
        let keep = |netlink: Netlink| {
            let (overruns, mut asked) = (overruns.clone(), false);
            script(move |cx: &mut netpoll::Context<'_, handlers::Script<Vec<String>>>| -> Answer {
                if !std::mem::replace(&mut asked, true) {
                    netlink.send(cx, &all_links())?;
                }
                let mut buf = [0; 32768];
                loop {
                    let (io, links) = cx.split();
                    match ready!(netlink.recv(io, &mut buf))? {
                        Notice::Message(datagram) => {
                            for (kind, _, name) in messages(datagram) {
                                assert_ne!(kind, NLMSG_ERROR);
                                links.retain(|link| *link != name);
                                if kind == RTM_NEWLINK {
                                    links.push(name);
                                }
                            }
                            links.sort();
                        }
                        Notice::Overrun => {
                            overruns.push(());
                            links.clear();
                            netlink.send(cx, &all_links())?;
                        }
                    }
                }
            })
        };
        reactor.spawn_with(unopened, keep).unwrap();
        let mut links = Vec::new();
        run_until(&mut reactor, &mut links, |links| *links == ["lo"]);
        for number in 0..4 {
            if ip(TEST, &format!("link add a{number} type veth peer name b{number}")).is_none() {
                return;
            }
        }
        ip(TEST, "link delete a3").unwrap();
        run_until(&mut reactor, &mut links, |links| *links == ["a0", "a1", "a2", "b0", "b1", "b2", "lo"]);
        assert!(overruns.len() >= 1);
        overruns.take();
        // It goes on, without another overrun.
        ip(TEST, "link set lo up").unwrap();
        ip(TEST, "link delete a0").unwrap();
        run_until(&mut reactor, &mut links, |links| !links.contains(&"b0".to_owned()));
    });
}

#[test]
fn a_question_is_answered() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let netlink = open(&mut poller, Netlink::route(0).unwrap());
    let mut buf = vec![0; 32768];
    assert_eq!(netlink.recv(&mut poller.io(Waiter::new(1)), &mut buf), Poll::Pending);
    netlink.send(&mut poller.io(Waiter::new(1)), &all_links()).unwrap();
    assert_eq!(poller.turn(SOON), [1]);
    let mut all = Vec::new();
    while let Poll::Ready(notice) = netlink.recv(&mut poller.io(Waiter::new(1)), &mut buf) {
        let Notice::Message(datagram) = notice.unwrap() else { panic!("an overrun") };
        all.extend(messages(datagram));
    }
    assert!(all.contains(&(RTM_NEWLINK, 1, "lo".to_owned())), "{all:?}");
    assert_eq!(all.last().map(|message| message.0), Some(NLMSG_DONE));
    // A bad question too.
    netlink
        .send(&mut poller.io(Waiter::new(1)), &{
            let mut request = all_links();
            request[4..6].copy_from_slice(&u16::MAX.to_ne_bytes());
            request
        })
        .unwrap();
    assert_eq!(poller.turn(SOON), [1]);
    let Poll::Ready(Ok(Notice::Message(datagram))) = netlink.recv(&mut poller.io(Waiter::new(1)), &mut buf) else { panic!() };
    assert_eq!(messages(datagram)[0].0, NLMSG_ERROR);
    netlink.close(&mut poller.io(Waiter::new(1))).unwrap();
    assert_eq!(netlink.send(&mut poller.io(Waiter::new(1)), &all_links()), Err(Error::Closed));
}

#[test]
fn an_unknown_subsystem() {
    let error = Netlink::bind(protocol::DNRTMSG, 0).unwrap_err(); // gone since DECnet is
    assert_eq!(error, Error::Os(Errno::PROTONOSUPPORT));
    drop(Netlink::bind(protocol::GENERIC, 0).unwrap());
}
