// A client in JavaScript, as client.py is one in Python: node's own trust, a connection for each call.
import fs from "node:fs";
import https from "node:https";

const [folder, ...addresses] = process.argv.slice(2);

function ask(address) {
  const files = fs.realpathSync(folder); // one set of files, whatever becomes of the link meanwhile
  const options = {
    host: address, port: 2379, path: "/version", agent: false, timeout: 5000,
    ca: fs.readFileSync(`${files}/ca.pem`),
    cert: fs.readFileSync(`${files}/client.pem`),
    key: fs.readFileSync(`${files}/client.key`),
  };
  return new Promise((resolve, reject) => {
    const request = https.get(options, (answer) => {
      let text = "";
      answer.on("data", (part) => { text += part; });
      answer.on("end", () => {
        try { resolve(JSON.parse(text).etcdserver); } catch (error) { reject(error); }
      });
      answer.on("error", reject);
    });
    request.on("timeout", () => request.destroy(new Error("no answer in time")));
    request.on("error", reject);
  });
}

let ended = false;
process.stdin.on("end", () => { ended = true; });
process.stdin.resume();
for (let turn = 0; !ended; ) {
  const said = [];
  let attempts = 0;
  while (attempts < 3) {
    attempts += 1;
    const address = addresses[turn++ % addresses.length];
    try {
      await ask(address);
      break;
    } catch (error) {
      said.push(`${address}: ${error.code ?? ""} ${error.message}`);
    }
  }
  console.log(JSON.stringify({ attempts, said }));
  await new Promise((resolve) => setTimeout(resolve, 50));
}
