use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::service::model::{MachineStatus, Metadata, Rates, UpdateMachine};
use crate::service::{ServiceConfig, clock, lock};

const ID: &str = "0123456789ab";

/// A daemon with a machine in `phase`, and without a process behind it.
async fn daemon(phase: Phase) -> (tempfile::TempDir, Arc<Service>) {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::open(&ServiceConfig::beneath(folder.path())).await.unwrap();
    let machine = Machine {
        metadata: Metadata { id: ID.into(), name: "m".into(), resource_version: 0, created_at: clock::now() },
        spec: serde_json::from_value(json!({"image": "i"})).unwrap(),
        status: MachineStatus { phase, starts: 1, ..MachineStatus::created("i".into()) },
    };
    service.records.create(machine, Vec::new()).await.unwrap();
    lock(&service.live).insert(ID.into(), Arc::new(Live::new(&service.layout, ID)));
    (folder, service)
}

/// A VMM that tells what it was asked for, and answers the first request after `first`, if at all.
fn vmm(service: &Service, first: Option<Duration>) -> UnboundedReceiver<String> {
    std::fs::create_dir_all(service.layout.machine_run(ID)).unwrap();
    let listener = UnixListener::bind(service.layout.vmm_api(ID)).unwrap();
    let (tell, told) = unbounded_channel();
    tokio::spawn(async move {
        let mut wait = first;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"}") && stream.read_buf(&mut request).await.unwrap() != 0 {}
            let state =
                if String::from_utf8_lossy(&request).contains("Paused") { "Paused" } else { "Resumed" };
            tell.send(state.to_owned()).unwrap();
            if let Some(wait) = wait.replace(Duration::ZERO) {
                tokio::time::sleep(wait).await;
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
            }
        }
    });
    told
}

async fn phase(service: &Service) -> Phase {
    service.machine(ID).await.unwrap().status.phase
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_a_record_that_is_true() {
    let (_folder, service) = daemon(Phase::Running).await;
    let mut told = vmm(&service, Some(Duration::from_millis(200)));
    let pause = tokio::time::timeout(Duration::from_millis(100), service.pause_machine("m"));
    assert!(pause.await.is_err());
    assert_eq!(told.recv().await.unwrap(), "Paused");
    let recorded = async {
        while phase(&service).await != Phase::Paused {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), recorded).await.unwrap();
    assert_eq!(service.unpause_machine("m").await.unwrap().status.phase, Phase::Running);
}

#[tokio::test]
async fn rates_that_a_vmm_has_taken_are_recorded_without_their_client() {
    let (_folder, service) = daemon(Phase::Running).await;
    let _told = vmm(&service, Some(Duration::from_millis(200)));
    let rates = Rates { disk_bytes_per_s: Some(7), ..Rates::default() };
    let update = service.update_machine("m", UpdateMachine { rates });
    assert!(tokio::time::timeout(Duration::from_millis(100), update).await.is_err());
    let recorded = async {
        while service.machine(ID).await.unwrap().spec.rates != rates {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), recorded).await.unwrap();
}

#[tokio::test]
async fn a_vmm_that_does_not_answer_is_not_left_to_pause_later() {
    let (_folder, service) = daemon(Phase::Running).await;
    let mut told = vmm(&service, None);
    service.pause_machine("m").await.unwrap_err();
    assert_eq!(told.recv().await.unwrap(), "Paused");
    assert_eq!(told.recv().await.unwrap(), "Resumed");
    assert_eq!(phase(&service).await, Phase::Running);
}

#[tokio::test]
async fn a_machine_that_is_taken_over_becomes_what_its_record_says() {
    for (recorded, asked) in [(Phase::Running, "Resumed"), (Phase::Paused, "Paused")] {
        let (_folder, service) = daemon(recorded).await;
        let mut told = vmm(&service, Some(Duration::ZERO));
        service.settle(ID, &service.live(ID).unwrap()).await;
        assert_eq!(told.recv().await.unwrap(), asked);
    }
}

#[tokio::test]
async fn what_does_not_fit_a_phase_is_a_conflict() {
    let conflict = |error: ServiceError, says: &str| {
        let told = error.to_string();
        assert!(matches!(error, ServiceError::Conflict { .. }) && told.contains(says), "{told}");
    };
    let (_folder, service) = daemon(Phase::Creating).await;
    let rates = Rates { disk_bytes_per_s: Some(1), ..Rates::default() };
    conflict(service.update_machine("m", UpdateMachine { rates }).await.unwrap_err(), "on its way up");
    conflict(service.pause_machine("m").await.unwrap_err(), "does not run");
    let (_folder, service) = daemon(Phase::Paused).await;
    conflict(service.kill_machine("m", 15).await.unwrap_err(), "is paused");
}
