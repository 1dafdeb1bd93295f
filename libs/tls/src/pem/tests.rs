//! What is wrong with files, and what is not.

use std::path::{Path, PathBuf};

use pointsman_testkit::certificates::Authority;
use tempfile::TempDir;

use super::{certificates, wrong_time};
use crate::{ClientTls, ServerTls};

struct Files {
    folder: TempDir,
    tls: ServerTls,
}

fn files() -> Files {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("authority").unwrap();
    let client_ca = authority.write(folder.path(), "ca.pem").unwrap();
    let own = authority.issue(&["localhost"]).unwrap().write(folder.path(), "own").unwrap();
    let tls = ServerTls { certificate: own.certificate, key: own.key, client_ca: Some(client_ca) };
    Files { folder, tls }
}

fn write(folder: &TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("written.pem");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn every_file_that_is_wrong_is_named_with_what_it_lacks() {
    let Files { folder, tls } = files();
    assert_eq!(tls.problems("s"), Vec::<String>::new());
    let other = Authority::new("other").unwrap().issue(&["localhost"]).unwrap().write(folder.path(), "other").unwrap();
    let half = std::fs::read_to_string(&tls.certificate).unwrap();
    let missing = Path::new("/no/such/file");
    for (wrong, want) in [
        (ServerTls { certificate: missing.into(), ..tls.clone() }, "/no/such/file cannot be read: No such file"),
        (ServerTls { key: missing.into(), ..tls.clone() }, "/no/such/file cannot be read: No such file"),
        (ServerTls { client_ca: Some(missing.into()), ..tls.clone() }, "/no/such/file cannot be read: No such file"),
        (ServerTls { key: other.key.clone(), ..tls.clone() }, "other.key.pem is not that of the first certificate in"),
        (ServerTls { key: tls.certificate.clone(), ..tls.clone() }, "own.pem has no private key in it"),
        (ServerTls { certificate: tls.key.clone(), ..tls.clone() }, "own.key.pem has no certificate in it"),
        (ServerTls { client_ca: Some(tls.key.clone()), ..tls.clone() }, "own.key.pem has no certificate in it"),
        (
            ServerTls { certificate: write(&folder, &half[..half.len() - 30]), ..tls.clone() },
            "written.pem is no whole PEM file",
        ),
    ] {
        let problems = wrong.problems("server.tls");
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("server.tls: ") && problems[0].contains(want), "{want}: {problems:?}");
    }
}

#[test]
fn what_a_client_shows_is_checked_too() {
    let Files { tls, .. } = &files();
    let right = ClientTls {
        ca: tls.client_ca.clone(),
        certificate: Some(tls.certificate.clone()),
        key: Some(tls.key.clone()),
        domain: Some("localhost".to_owned()),
    };
    assert_eq!(right.problems("s"), Vec::<String>::new());
    for (wrong, want) in [
        (ClientTls { key: None, ..right.clone() }, "of use together only"),
        (ClientTls { certificate: None, ..right.clone() }, "of use together only"),
        (ClientTls { ca: Some(tls.key.clone()), ..right.clone() }, "has no certificate"),
        (ClientTls { domain: Some("a b".to_owned()), ..right.clone() }, "`a b` is no name of a server"),
    ] {
        let problems = wrong.problems("instances[0].tls");
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains(want), "{want}: {problems:?}");
    }
}

#[test]
fn certificates_out_of_time_are_noticed_and_taken() {
    let Files { folder, tls } = files();
    let authority = Authority::new("authority").unwrap();
    let old = authority.issue_expired(&["localhost"]).unwrap().write(folder.path(), "old").unwrap();
    let of = |path: &Path| wrong_time(&certificates(path).unwrap()[0]);
    assert_eq!(of(&old.certificate), Some("has expired"));
    assert_eq!(of(&tls.certificate), None);
    assert_eq!(of(tls.client_ca.as_deref().unwrap()), None);
    let tls = ServerTls { certificate: old.certificate, key: old.key, client_ca: None };
    assert_eq!(tls.problems("s"), Vec::<String>::new());
    let warnings = tls.warnings("server.tls");
    assert!(warnings.len() == 1 && warnings[0].contains("old.pem has expired"), "{warnings:?}");
}
