// usage: node bench.mjs N TOPIC   N peers in this process, driven by tests/bench/gossip.py: one JSON object per line.
import { createInterface } from 'node:readline'
import { makeNode, say, sleep } from './node.mjs'

const [count, topic] = [Number(process.argv[2]), process.argv[3]]
const WINDOW = 64 // messages under way in a saturated run
const BYTES = 300

const nodes = []
for (let i = 0; i < count; i++) nodes.push(await makeNode(topic, { floodPublish: false, D: 6, Dlo: 4, Dhi: 12 }))
for (let i = 0; i < count; i++) {
  for (const step of [1, 2, 4]) await nodes[i].dial(nodes[(i + step) % count].getMultiaddrs()) // as in gossip_peers.py
}
let delivered = 0
for (const { services: { pubsub } } of nodes) {
  pubsub.topicValidators.set(topic, () => 'accept')
  pubsub.addEventListener('message', () => { delivered++ })
  pubsub.subscribe(topic)
}

async function publish(index) {
  const data = crypto.getRandomValues(new Uint8Array(BYTES))
  await nodes[index % count].services.pubsub.publish(topic, data)
}

async function run(rate, seconds) {
  const before = delivered
  const cpu = process.cpuUsage()
  const start = performance.now()
  let published = 0
  const missing = () => published * (count - 1) - (delivered - before)
  const running = () => performance.now() - start < seconds * 1000
  while (running()) {
    await publish(published++)
    if (rate > 0) {
      await sleep(Math.max(0, start + (published * 1000) / rate - performance.now()))
    } else {
      while (running() && missing() > WINDOW * (count - 1)) await sleep(1)
    }
  }
  const took = (performance.now() - start) / 1000
  for (let idle = 0, last = missing(); missing() > 0 && idle < 60; idle++) {
    await sleep(50)
    if (missing() !== last) [idle, last] = [0, missing()]
  }
  const { user, system } = process.cpuUsage(cpu)
  return { published, delivered: delivered - before, lost: missing(), cpu_us: user + system, seconds: took }
}

say({ ready: true })
for await (const line of createInterface({ input: process.stdin })) {
  const { command, rate, seconds } = JSON.parse(line)
  if (command === 'run') say(await run(rate, seconds))
  else say({ mesh_min: Math.min(...nodes.map((node) => node.services.pubsub.getMeshPeers(topic).length)) })
}
process.exit(0)
