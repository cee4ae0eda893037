//! An S3 server in this process: s3s-fs on a loopback port, with real signatures.

use std::{net::SocketAddr, path::Path};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use tokio::{net::TcpListener, runtime::Handle};

pub const BUCKET: &str = "results";
pub const KEY_ID: &str = "chaos-key";
pub const SECRET: &str = "chaos-secret";

/// Serves `folder` until the runtime ends.
///
/// # Errors
/// When the folder cannot be made, or no port is free.
pub async fn serve(folder: &Path) -> anyhow::Result<SocketAddr> {
    std::fs::create_dir_all(folder.join(BUCKET))?;
    let files = s3s_fs::FileSystem::new(folder).map_err(|error| anyhow::anyhow!("s3s-fs: {error:?}"))?;
    let mut builder = S3ServiceBuilder::new(files);
    builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
    let service = builder.build();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    Handle::current().spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = service.clone();
            Handle::current().spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                // A client that goes away is no fault of the server.
                drop(server.serve_connection(TokioIo::new(socket), service).await);
            });
        }
    });
    Ok(address)
}
