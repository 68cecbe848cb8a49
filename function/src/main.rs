//! `bootstrap`: the function as Lambda runs it. Environment in, log lines on stdout, everything
//! else by the Runtime API.

mod runtime;

use {
    routeto_function::{FunctionError, Settings, Sinks, handle},
    runtime::{Fatal, Runtime},
    std::{
        env,
        io::{Write, stderr, stdout},
        process::ExitCode,
    },
};

fn main() -> ExitCode {
    // one thread: there is one event at a time, and 128 MB buy a fourteenth of a processor
    let result =
        match tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build() {
            Ok(tokio) => tokio.block_on(run()),
            Err(error) => Err(error.into()),
        };
    match result {
        Ok(never) => match never {},
        Err(error) => {
            // nobody is left to hear if this fails
            let _ = writeln!(stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<std::convert::Infallible, Fatal> {
    let variable = |name: &str| env::var(name).ok();
    let api = variable("AWS_LAMBDA_RUNTIME_API")
        .ok_or("AWS_LAMBDA_RUNTIME_API is not set: this is a Lambda function, not a command")?;
    let mut runtime = Runtime::new(api);
    let settings = match Settings::from_env(variable) {
        Ok(settings) => settings,
        Err(error) => {
            let error = FunctionError {
                error_type: "Runtime.Environment",
                error_message: error.to_string(),
            };
            runtime.fail_init(&error).await?;
            return Err(error.error_message.into());
        }
    };
    let sinks = Sinks::new(&settings, settings.http_client(variable));
    loop {
        let (event, invocation) = runtime.next().await?;
        let handled = handle(&event, &invocation, &sinks).await;
        drop(event);
        // a log that can't be written is no reason to lose an event
        let _ = writeln!(stdout(), "{}", handled.log);
        match handled.answer {
            Ok(answer) => runtime.answer(&invocation.id, serde_json::to_vec(&answer)?).await?,
            Err(error) => runtime.fail(&invocation.id, &error).await?,
        }
    }
}
