//! moto: a server of S3 and IAM in Python that checks signatures and policies by AWS's own client library.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A server on a port of its own that is stopped when it is dropped.
pub(crate) struct Moto {
    pub(crate) port: u16,
    child: Child,
    client: reqwest::Client,
}

impl Moto {
    /// Starts one, or says that there is none: `POSTROOM_TEST_MOTO` names the program.
    pub(crate) fn start() -> Option<Self> {
        let Some(program) = std::env::var_os("POSTROOM_TEST_MOTO") else {
            eprintln!("SKIPPED: POSTROOM_TEST_MOTO does not name moto_server");
            return None;
        };
        let mut child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .env("PYTHONUNBUFFERED", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let port = loop {
            let line = lines.next().unwrap().unwrap();
            if let Some((_, rest)) = line.split_once("http://127.0.0.1:") {
                break rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap();
            }
        };
        // It logs every request: a full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { port, child, client: reqwest::Client::new() })
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    pub(crate) async fn make_bucket(&self, bucket: &str) {
        let made = self.client.put(self.url(bucket)).send().await.unwrap();
        assert!(made.status().is_success(), "{made:?}");
    }

    /// Returns an object as it is served: media type, caching, bytes.
    pub(crate) async fn served(&self, path: &str) -> (String, String, Vec<u8>) {
        let served = self.client.get(self.url(path)).header("authorization", SOMEBODY).send().await.unwrap();
        assert!(served.status().is_success(), "{path}: {served:?}");
        let header = |name| served.headers()[name].to_str().unwrap().to_owned();
        let (kind, caching) = (header("content-type"), header("cache-control"));
        (kind, caching, served.bytes().await.unwrap().to_vec())
    }

    /// Returns the keys of a bucket.
    pub(crate) async fn keys(&self, bucket: &str) -> Vec<String> {
        let listed = self.client.get(self.url(bucket)).send().await.unwrap().text().await.unwrap();
        listed.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap().to_owned()).collect()
    }

    /// Makes a user with a policy and returns its key: id and secret.
    pub(crate) async fn user(&self, name: &str, policy: &str) -> (String, String) {
        self.iam(&format!("Action=CreateUser&UserName={name}")).await;
        let policy: String = policy.bytes().map(|byte| format!("%{byte:02X}")).collect();
        self.iam(&format!("Action=PutUserPolicy&UserName={name}&PolicyName=p&PolicyDocument={policy}")).await;
        let made = self.iam(&format!("Action=CreateAccessKey&UserName={name}")).await;
        let of = |tag: &str| {
            let rest = made.split(&format!("<{tag}>")).nth(1).unwrap();
            rest.split('<').next().unwrap().to_owned()
        };
        (of("AccessKeyId"), of("SecretAccessKey"))
    }

    /// From now on signatures and policies are checked.
    pub(crate) async fn check_from_now_on(&self) {
        let told = self.client.post(self.url("moto-api/reset-auth")).body("0").send().await.unwrap();
        assert!(told.status().is_success(), "{told:?}");
    }

    async fn iam(&self, form: &str) -> String {
        let asked = self
            .client
            .post(self.url(""))
            .header("authorization", SOMEBODY.replace("/s3/", "/iam/"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("{form}&Version=2010-05-08"));
        let answered = asked.send().await.unwrap();
        assert!(answered.status().is_success(), "{form}: {answered:?}");
        answered.text().await.unwrap()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Credentials that count until rights are checked. Their scope also tells which service is meant.
const SOMEBODY: &str =
    "AWS4-HMAC-SHA256 Credential=ROOT/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=none";
