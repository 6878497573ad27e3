//! HTTP as the demo's people and staff speak it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode, redirect};
use serde_json::Value;

use crate::error::CliError;

const TIMEOUT_S: u64 = 30;
/// What a browser of a person, and of the link scanner, calls itself: the same on purpose.
pub const BROWSER: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36";

/// The web as one host sees it: no redirects followed, the tracking host resolves to loopback as in browsers.
#[derive(Clone)]
pub struct Web {
    client: reqwest::Client,
    base: Arc<str>,
}

/// A signed-in account.
#[derive(Clone)]
pub struct Session {
    web: Web,
    cookie: Arc<str>,
    csrf: Arc<str>,
}

impl Web {
    /// For the server at `http`, whose tracking links point to `tracking_host`.
    pub fn new(http: SocketAddr, tracking_host: &str) -> Result<Web, CliError> {
        let client = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .timeout(Duration::from_secs(TIMEOUT_S))
            .user_agent(BROWSER)
            .resolve(tracking_host, SocketAddr::new([127, 0, 0, 1].into(), 0))
            .pool_max_idle_per_host(64)
            .build()
            .map_err(|e| CliError::failed("the demo's web client", &e))?;
        Ok(Web { client, base: format!("http://{http}").into() })
    }

    /// Fetches any address; gives the status and where it redirects to.
    pub async fn fetch(&self, url: &str) -> Result<(StatusCode, Option<String>), CliError> {
        let answer = self.client.get(url).send().await.map_err(|e| failed("GET", url, &e))?;
        let target = answer.headers().get("location").and_then(|v| v.to_str().ok()).map(str::to_owned);
        Ok((answer.status(), target))
    }

    /// Signs in with login and password.
    pub async fn sign_in(&self, login: &str, password: &str) -> Result<Session, CliError> {
        self.start("/api/v1/session", serde_json::json!({ "login": login, "password": password })).await
    }

    /// Signs in with a one-time link's token.
    pub async fn sign_in_by_link(&self, token: &str) -> Result<Session, CliError> {
        self.start("/api/v1/session/link", serde_json::json!({ "token": token })).await
    }

    async fn start(&self, path: &str, body: Value) -> Result<Session, CliError> {
        let url = format!("{}{path}", self.base);
        let answer = self.client.post(&url).json(&body).send().await.map_err(|e| failed("POST", path, &e))?;
        let cookie = answer
            .headers()
            .get("set-cookie")
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.split(';').next())
            .map(str::to_owned);
        let status = answer.status();
        let body: Value = answer.json().await.map_err(|e| failed("POST", path, &e))?;
        match (cookie, body["csrf"].as_str()) {
            (Some(cookie), Some(csrf)) if status.is_success() => {
                Ok(Session { web: self.clone(), cookie: cookie.into(), csrf: csrf.into() })
            }
            _ => Err(CliError::Failed(format!(
                "POST {path}: {status}: {}",
                body["detail"].as_str().unwrap_or("no session")
            ))),
        }
    }
}

impl Session {
    /// GET of an API path below `/api/v1`.
    pub async fn get(&self, path: &str) -> Result<Value, CliError> {
        self.call(Method::GET, path, None).await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: Value) -> Result<Value, CliError> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// PATCH of JSON.
    pub async fn patch(&self, path: &str, body: Value) -> Result<Value, CliError> {
        self.call(Method::PATCH, path, Some(body)).await
    }

    /// GET of bytes: a message as it was received.
    pub async fn get_bytes(&self, path: &str) -> Result<Vec<u8>, CliError> {
        let url = format!("{}/api/v1{path}", self.web.base);
        let answer = self.web.client.get(&url).header("cookie", &*self.cookie).send().await;
        let answer = answer.map_err(|e| failed("GET", path, &e))?;
        if !answer.status().is_success() {
            return Err(CliError::Failed(format!("GET {path}: {}", answer.status())));
        }
        Ok(answer.bytes().await.map_err(|e| failed("GET", path, &e))?.to_vec())
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, CliError> {
        let url = format!("{}/api/v1{path}", self.web.base);
        let mut request = self.web.client.request(method.clone(), &url).header("cookie", &*self.cookie);
        if method != Method::GET {
            request = request.header("x-csrf-token", &*self.csrf);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.map_err(|e| failed(method.as_str(), path, &e))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|e| failed(method.as_str(), path, &e))?;
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(value);
        }
        let detail = value["detail"].as_str().unwrap_or(&text);
        Err(CliError::Failed(format!("{method} {path}: {status}: {detail}")))
    }
}

fn failed(method: &str, path: &str, error: &dyn std::fmt::Display) -> CliError {
    CliError::failed(&format!("{method} {path}"), error)
}
