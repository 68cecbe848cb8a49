#!/usr/bin/env python3
"""Measures a `bootstrap`: size, zip, start, memory, and PUTs over TLS to a server on this machine.

    function/benches/measure.py target/function/bootstrap [--native-roots] [--aws] [--rounds 40]

Start is from spawn to the first /next. A PUT is from the event's last byte handed over to the answer's arrival; `cold` is a fresh process's first one,
with the TLS handshake, `warm` the median of the next nine. CPU is the process's own, user and system, for a warm PUT of 4.5 MB: in Lambda with 128 MB
it takes about fourteen times as long by the clock. Needs openssl.

A custom endpoint gets no checksum. `--aws` measures with one: the function then asks for AWS's own names, which have to lead to this machine's port 443.
In a namespace of its own that touches nothing else:

    echo 127.0.0.1 localhost bucket.s3.us-east-1.amazonaws.com sqs.us-east-1.amazonaws.com > hosts
    unshare -rnm sh -c 'ip link set lo up; mount --bind hosts /etc/hosts; function/benches/measure.py target/function/bootstrap --aws'
"""
import argparse, base64, hashlib, http.server, json, os, pathlib, socket, ssl, statistics, subprocess, tempfile, threading, time, zipfile


HOSTS = ["localhost", "bucket.s3.us-east-1.amazonaws.com", "sqs.us-east-1.amazonaws.com"]
QUEUE = "https://sqs.us-east-1.amazonaws.com/123456789012/name"


def certificates(folder):
    run = lambda *a: subprocess.run(a, check=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=measure CA",
        "-addext", "basicConstraints=critical,CA:TRUE", "-keyout", "ca.key", "-out", "ca.pem")
    run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "csr.pem")
    (folder / "ext").write_text("subjectAltName=" + ",".join("DNS:" + host for host in HOSTS) + "\nbasicConstraints=CA:FALSE\n")
    run("openssl", "x509", "-req", "-in", "csr.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "ext", "-out", "cert.pem")


class S3(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_PUT(self):
        left = int(self.headers["Content-Length"])
        while left:
            left -= len(self.rfile.read(min(left, 1 << 16)))
        self.send_response(200)
        self.send_header("ETag", '"0"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["MessageBody"]
        answer = json.dumps({"MessageId": "m", "MD5OfMessageBody": hashlib.md5(message.encode()).hexdigest()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *a):
        pass


class Lambda:
    """One process of the function, and the Runtime API that it talks to."""

    def __init__(self, binary, env):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(4)
        env = {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:%d" % self.listener.getsockname()[1], "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
               "AWS_SECRET_ACCESS_KEY": "x", "AWS_SESSION_TOKEN": "y", **env}
        started = time.perf_counter()
        self.process = subprocess.Popen([binary], env=env, stdout=subprocess.DEVNULL)
        self.connection, _ = self.listener.accept()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.read()
        self.start = (time.perf_counter() - started) * 1e3

    def read(self):
        data = b""
        while b"\r\n\r\n" not in data:
            data += self.connection.recv(65536)
        head, body = data.split(b"\r\n\r\n", 1)
        length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0)
        while len(body) < length:
            body += self.connection.recv(65536)
        return head, body

    def invoke(self, event):
        head = "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: %032x\r\nLambda-Runtime-Deadline-Ms: %d\r\nContent-Length: %d\r\n\r\n"
        self.connection.sendall((head % (time.monotonic_ns(), time.time() * 1000 + 10000, len(event))).encode() + event)
        started = time.perf_counter()
        head, body = self.read()
        elapsed = (time.perf_counter() - started) * 1e3
        assert b"/response" in head and b'"status":200' in body, (head, body)
        self.connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        self.read()
        return elapsed

    def status(self, key):
        return next(int(line.split()[1]) / 1000 for line in open(f"/proc/{self.process.pid}/status") if line.startswith(key))

    def cpu(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")

    def end(self):
        self.process.kill()
        self.process.wait()
        self.connection.close()
        self.listener.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--native-roots", action="store_true")
    parser.add_argument("--aws", action="store_true")
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp())
    certificates(folder)
    packed = folder / "f.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as z:
        z.write(options.binary, "bootstrap")

    env = {"SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"} if options.native_roots else {}
    starts, rss = [], []
    for _ in range(options.rounds):
        function = Lambda(options.binary, env)
        starts.append(function.start)
        time.sleep(0.01)
        rss.append(function.status("VmRSS"))
        function.end()
    print(f"bootstrap {os.path.getsize(options.binary) / 1e6:.2f} MB  zip {os.path.getsize(packed) / 1e6:.2f} MB  "
          f"start {statistics.median(starts):.1f} ms (90 %: {sorted(starts)[int(len(starts) * .9)]:.1f})  memory {max(rss):.1f} MB")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 443 if options.aws else 0), S3)
    server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    env = {"SSL_CERT_FILE": str(folder / "ca.pem")}
    if not options.aws:
        env["AWS_ENDPOINT_URL"] = "https://localhost:%d" % server.server_address[1]
    kinds = [("PUT", "s3://bucket", size) for size in (2_000, 768_000, 4_500_000)] + [("message", QUEUE, size) for size in (2_000, 768_000)]
    for kind, destination, size in kinds:
        name = f"{size / 1e3:.0f} KB"
        event = json.dumps({"time": 1700000000000, "path": "/input", "token": "t", "validToken": "t", "app": "a", "bucket": "", "destination": destination,
                            "headers": {}, "query": {}, "body": base64.b64encode(os.urandom(size)).decode()}).encode()
        cold, warm, cpu, peak = [], [], [], []
        for _ in range(max(3, options.rounds // 8)):
            function = Lambda(options.binary, env)
            cold.append(function.invoke(event))
            before = function.cpu()
            warm += [function.invoke(event) for _ in range(9)]
            cpu.append((function.cpu() - before) / 9)
            peak.append(function.status("VmHWM"))
            function.end()
        print(f"{kind} {name}: cold {statistics.median(cold):.1f} ms  warm {statistics.median(warm):.1f} ms  cpu {statistics.mean(cpu):.1f} ms  peak memory {max(peak):.1f} MB")


main()
