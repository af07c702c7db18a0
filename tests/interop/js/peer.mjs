// usage: node peer.mjs TOPIC   One peer that does what it is told: a JSON object per line in, one per line out.
import { createInterface } from 'node:readline'
import { identifyPush } from '@libp2p/identify'
import { peerIdFromString } from '@libp2p/peer-id'
import { multiaddr } from '@multiformats/multiaddr'
import { makeNode, say } from './node.mjs'

const topic = process.argv[2]
const node = await makeNode(topic, {}, { identifyPush: identifyPush() })
const pubsub = node.services.pubsub
const hex = (bytes) => Buffer.from(bytes.subarray()).toString('hex')
const bytes = (text) => Uint8Array.from(Buffer.from(text, 'hex'))

node.addEventListener('peer:identify', ({ detail }) => {
  const record = detail.signedPeerRecord != null
  say({ event: 'identified', peer: detail.peerId.toString(), agent: detail.agentVersion, protocols: detail.protocols, record })
})
pubsub.addEventListener('gossipsub:message', ({ detail }) => {
  say({ event: 'message', data: hex(detail.msg.data), from: detail.propagationSource.toString() })
})
await node.handle('/p2pcompute/interop-echo/1', async (stream) => {
  for await (const chunk of stream) stream.send(chunk)
  await stream.close()
})

const commands = {
  dial: async ({ address }) => ({ peer: (await node.dial(multiaddr(address))).remotePeer.toString() }),
  ping: async ({ address }) => ({ ms: await node.services.ping.ping(multiaddr(address)) }),
  announce: ({ address }) => { node.components.addressManager.confirmObservedAddr(multiaddr(address), { type: 'observed' }) },
  whereis: async ({ peer }) => ({
    addresses: (await node.peerStore.get(peerIdFromString(peer))).addresses.map((one) => one.multiaddr.toString())
  }),
  subscribe: () => pubsub.subscribe(topic),
  publish: async ({ data }) => ({ recipients: (await pubsub.publish(topic, bytes(data))).recipients.length }),
  mesh: () => ({
    mesh: pubsub.getMeshPeers(topic),
    subscribers: pubsub.getSubscribers(topic).map(String),
    versions: Object.fromEntries([...pubsub.streamsOutbound].map(([id, stream]) => [id, stream.rawStream.protocol])),
    scores: Object.fromEntries([...pubsub.peers.keys()].map((id) => [id, pubsub.getScore(id)]))
  }),
  ask: async ({ address, protocol, data }) => {
    const stream = await node.dialProtocol(multiaddr(address), protocol)
    stream.send(bytes(data))
    const parts = []
    const reading = (async () => { for await (const chunk of stream) parts.push(chunk.subarray()) })()
    await stream.close()
    await reading
    return { data: hex(Buffer.concat(parts)) }
  }
}

say({ event: 'ready', peer: node.peerId.toString(), addresses: node.getMultiaddrs().map(String) })
for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...options } = JSON.parse(line)
  try {
    say({ event: 'done', command, ...((await commands[command](options)) ?? {}) })
  } catch (error) {
    say({ event: 'failed', command, reason: String(error) })
  }
}
process.exit(0)
