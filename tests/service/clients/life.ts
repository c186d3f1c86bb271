// A server's whole life, driven by the generated TypeScript types: `node life.js URL TOKEN < PRIVATE_KEY`.
import { readFileSync } from "node:fs";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

const [url, token] = process.argv.slice(2) as [string, string];
const key = readFileSync(0, "utf8");
const client = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${token}` } });

function of<T>(answer: { data?: T; error?: unknown; response: Response }): T {
  if (answer.data === undefined) throw new Error(`${answer.response.status} ${JSON.stringify(answer.error)}`);
  return answer.data;
}

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(`not so: ${what}`);
}

async function until<T>(look: () => Promise<T | undefined>, what: string): Promise<T> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    check(Date.now() < deadline, what);
    await new Promise((done) => setTimeout(done, 100));
  }
}

const created = await client.POST("/api/servers", {
  body: { name: "ts-1", host: "ts.example", sshPrivateKey: key },
});
const { id } = of(created);
const at = { params: { path: { id } } };

const server = await until<components["schemas"]["ServerDetail"]>(async () => {
  const found = of(await client.GET("/api/servers/{id}", at));
  return found.status === "active" ? found : undefined;
}, "the server is active");
check(server.osName === "Debian GNU/Linux" && server.hostKeyFingerprint !== null, "it is known");
check(of(await client.GET("/api/servers")).servers.some((one) => one.id === id), "it is listed");

const { logs } = of(await client.GET("/api/servers/{id}/provisioning-logs", at));
check(logs.length > 5 && logs.every((one) => one.status === "success" || one.status === "unchanged"), "the log");
const more = { params: { path: { id }, query: { addRamMB: 65536, addCores: 16 } } };
check(of(await client.GET("/api/servers/{id}/capacity", more)).maxInstances > 0, "the capacity");

const changed = of(await client.PUT("/api/servers/{id}", { ...at, body: { description: "changed" } }));
check(changed.name === "ts-1" && changed.port === 22 && changed.status === "active", "only the description changed");

const run = of(await client.POST("/api/servers/{id}/runs", { ...at, body: { kind: "drift" } }));
const ended = await until(async () => {
  const found = of(await client.GET("/api/runs/{id}", { params: { path: { id: run.id } } }));
  return found.finishedAt === null ? undefined : found;
}, "the run has ended");
check(ended.state === "succeeded", "the run succeeded");
check(of(await client.GET("/api/servers/{id}/drift", at)).drifted === false, "nothing drifted");

const bundle = await client.GET("/api/runs/{id}/debug-bundle", {
  params: { path: { id: run.id } },
  parseAs: "arrayBuffer",
});
check(new Uint8Array(of(bundle) as unknown as ArrayBuffer)[0] === 0x1f, "the debug bundle is gzipped");

const taken = await client.POST("/api/servers", { body: { name: "ts-1", host: "x.example", sshPrivateKey: key } });
check(taken.error?.code === "name_taken", "a name that is taken is refused");

of(await client.DELETE("/api/servers/{id}", at));
await until(async () => {
  const { response } = await client.GET("/api/servers/{id}", at);
  return response.status === 404 ? true : undefined;
}, "it is gone");
