//! iceoryx2 publish-subscribe with a 64-byte payload: a service each way, defaults kept.

use crate::pair::{Side, idle};
use crate::shared::Which;
use anyhow::Result;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;

/// As many bytes as one of our descriptors.
type Payload = [u64; 8];
type Factory = PortFactory<ipc::Service, Payload, ()>;

/// One side's ports. Both sides open theirs before the first message: a service keeps none for late subscribers.
pub struct Ports {
    publisher: Publisher<ipc::Service, Payload, ()>,
    subscriber: Subscriber<ipc::Service, Payload, ()>,
    _keeps_the_services: ([Factory; 2], Node<ipc::Service>),
}

impl Ports {
    /// `run` tells this run's services from those of others.
    pub fn open(run: u32, which: Which) -> Result<Self> {
        set_log_level(LogLevel::Error);
        let node = NodeBuilder::new().create::<ipc::Service>()?;
        let open = |n: usize| -> Result<Factory> {
            let name = ServiceName::new(&format!("flumeway/bench-ring/{run}/{n}"))?;
            Ok(node.service_builder(&name).publish_subscribe::<Payload>().open_or_create()?)
        };
        let services = [open(0)?, open(1)?];
        Ok(Self {
            publisher: services[which.number()].publisher_builder().create()?,
            subscriber: services[1 - which.number()].subscriber_builder().create()?,
            _keeps_the_services: (services, node),
        })
    }
}

/// One side.
pub struct PublishSubscribe<'a, const PAUSE: bool> {
    ports: &'a Ports,
    payload: Payload,
}

impl<'a, const PAUSE: bool> PublishSubscribe<'a, PAUSE> {
    pub fn new(ports: &'a Ports) -> Self {
        Self { ports, payload: [0; 8] }
    }

    #[inline]
    fn send(&mut self) -> Result<()> {
        self.payload[0] += 1;
        self.ports.publisher.loan_uninit()?.write_payload(self.payload).send()?;
        Ok(())
    }

    #[inline]
    fn receive(&mut self) -> Result<()> {
        loop {
            if let Some(sample) = self.ports.subscriber.receive()? {
                self.payload = std::hint::black_box(*sample);
                return Ok(());
            }
            idle::<PAUSE>();
        }
    }
}

impl<const PAUSE: bool> Side for PublishSubscribe<'_, PAUSE> {
    #[inline]
    fn trip(&mut self) -> Result<()> {
        self.send()?;
        self.receive()
    }

    #[inline]
    fn echo(&mut self) -> Result<()> {
        self.receive()?;
        self.send()
    }
}
