// usage: node discovery.mjs [RELAY]   A peer with a DHT that does what it is told; with RELAY it is reached through that
// relay only. A JSON object per line in, one per line out.
import './polyfill.mjs'
import { createInterface } from 'node:readline'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { identify } from '@libp2p/identify'
import { kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { peerIdFromString } from '@libp2p/peer-id'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'

const say = (event) => process.stdout.write(JSON.stringify(event) + '\n')
const relay = process.argv[2]
const node = await createLibp2p({
  addresses: { listen: relay ? [`${relay}/p2p-circuit`] : ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp(), circuitRelayTransport()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  connectionGater: { denyDialMultiaddr: () => false },
  services: {
    identify: identify(),
    ping: ping(),
    dht: kadDHT({ protocol: '/ipfs/kad/1.0.0', clientMode: false, peerInfoMapper: passthroughMapper })
  }
})
const bytes = (text) => Uint8Array.from(Buffer.from(text, 'hex'))
const key = (text) => CID.createV1(0x55, Digest.decode(bytes(text)))
const collect = async (source, map) => {
  const found = []
  for await (const one of source) found.push(map(one))
  return found
}
await node.handle('/p2pcompute/interop-echo/1', async (stream) => {
  for await (const chunk of stream) stream.send(chunk)
  await stream.close()
}, { runOnLimitedConnection: true })

const commands = {
  dial: async ({ address }) => ({ peer: (await node.dial(multiaddr(address))).remotePeer.toString() }),
  addresses: () => ({ addresses: node.getMultiaddrs().map(String) }),
  find: async ({ peer }) => ({
    addresses: (await node.peerRouting.findPeer(peerIdFromString(peer))).multiaddrs.map(String)
  }),
  provide: async ({ data }) => { await node.contentRouting.provide(key(data)) },
  providers: async ({ data }) => ({
    providers: await collect(node.contentRouting.findProviders(key(data), { signal: AbortSignal.timeout(10_000) }), (one) => one.id.toString())
  })
}

say({ event: 'ready', peer: node.peerId.toString(), addresses: ['', ...node.getMultiaddrs().map(String)].slice(-1) })
for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...options } = JSON.parse(line)
  try {
    say({ event: 'done', command, ...((await commands[command](options)) ?? {}) })
  } catch (error) {
    say({ event: 'failed', command, reason: String(error) })
  }
}
process.exit(0)
