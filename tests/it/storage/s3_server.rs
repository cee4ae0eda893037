//! An S3 server in this process: s3s-fs on a loopback port, with real signatures.

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use longtake::{
    config::storage::{ChecksumCalculation, StorageConfig, StorageKind},
    storage::Storage,
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Handle, task::JoinHandle};

pub const BUCKET: &str = "results";
const KEY_ID: &str = "test-key";
const SECRET: &str = "test-secret";

pub struct S3Server {
    folder: TempDir,
    endpoint: String,
    accepting: JoinHandle<()>,
}

impl S3Server {
    pub async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let accepting = Handle::current().spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                socket.set_nodelay(true).unwrap();
                let service = service.clone();
                Handle::current().spawn(async move {
                    let server = auto::Builder::new(TokioExecutor::new());
                    // A client that goes away is no fault of the server.
                    let _ = server.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { folder, endpoint, accepting }
    }

    pub fn config(&self) -> StorageConfig {
        StorageConfig {
            kind: StorageKind::S3,
            bucket: BUCKET.to_owned(),
            endpoint: Some(self.endpoint.clone()),
            path_style: true,
            prefix: "/team-a/media/".to_owned(),
            access_key_id: Some(KEY_ID.to_owned()),
            secret_access_key: Some(SECRET.to_owned().into()),
            part_bytes: 5 * 1024 * 1024,
            ..StorageConfig::default()
        }
    }

    /// The same as variables of a process.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LONGTAKE__STORAGE__KIND", "s3".to_owned()),
            ("LONGTAKE__STORAGE__BUCKET", BUCKET.to_owned()),
            ("LONGTAKE__STORAGE__ENDPOINT", self.endpoint.clone()),
            ("LONGTAKE__STORAGE__PATH_STYLE", "true".to_owned()),
            ("LONGTAKE__STORAGE__ACCESS_KEY_ID", KEY_ID.to_owned()),
            ("LONGTAKE__STORAGE__SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("LONGTAKE__STORAGE__REQUEST_CHECKSUM_CALCULATION", "when_required".to_owned()),
        ]
    }

    pub async fn storage(&self, checksums: ChecksumCalculation) -> Storage {
        let config = StorageConfig { request_checksum_calculation: checksums, ..self.config() };
        Storage::open(&config, self.folder.path()).await.unwrap()
    }

    /// What the server keeps on its disk, by path, but for its own metadata of finished objects.
    pub fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        walk(self.folder.path(), &mut found);
        let root = self.folder.path().to_str().unwrap().to_owned();
        let mut found: Vec<_> = found.into_iter().map(|path| path.trim_start_matches(&root).to_owned()).collect();
        found.sort();
        found
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn walk(folder: &std::path::Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, found) } else { found.push(path.to_str().unwrap().to_owned()) }
    }
}
