// Every documented call of toxiproxy-node-client; prints "ok", or throws.
import assert from "node:assert";
import { createRequire } from "node:module";
const { Toxiproxy } = createRequire(process.cwd() + "/")("toxiproxy-node-client");

const server = new Toxiproxy(process.argv[2]);
assert.match(JSON.stringify(await server.getVersion()), /2\.12\.0/);
const proxy = await server.createProxy({ name: "node-1", listen: "127.0.0.1:0", upstream: "127.0.0.1:9" });
assert.equal(proxy.enabled, true);
await assert.rejects(server.createProxy({ name: "node-1", listen: "127.0.0.1:0", upstream: "127.0.0.1:9" }));
assert.equal((await server.get("node-1")).listen, proxy.listen);
assert.ok("node-1" in (await server.getAll()));
const made = await server.populate([{ name: "node-2", listen: "127.0.0.1:0", upstream: "127.0.0.1:9", enabled: true }]);
assert.deepEqual(Object.keys(made), ["node-2"]);
assert.equal((await proxy.update({ enabled: false, listen: proxy.listen, upstream: proxy.upstream })).enabled, false);
assert.equal((await proxy.update({ enabled: true, listen: proxy.listen, upstream: proxy.upstream })).enabled, true);
const toxic = await proxy.addToxic({
  name: "slow", type: "latency", stream: "downstream", toxicity: 1.0, attributes: { latency: 100, jitter: 5 },
});
assert.deepEqual(toxic.attributes, { latency: 100, jitter: 5 });
assert.equal((await proxy.getToxic("slow")).type, "latency");
const changed = await toxic.update({ ...toxic.toJson(), attributes: { latency: 7, jitter: 5 } });
assert.equal(changed.attributes.latency, 7);
await toxic.remove();
await assert.rejects(proxy.getToxic("slow"));
await server.reset();
await proxy.remove();
await made["node-2"].remove();
await assert.rejects(server.get("node-1"));
console.log("ok");
