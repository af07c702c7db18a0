// One js-libp2p peer, set up as a member of our network.
import './polyfill.mjs'
import { createHash } from 'node:crypto'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { createLibp2p } from 'libp2p'

// docs/spec/gossip.md, "Message id"
export const msgIdFn = (m) => createHash('sha256').update(m.topic).update('\0').update(m.data).digest().subarray(0, 20)

const topicScore = {
  topicWeight: 1,
  timeInMeshWeight: 0.01,
  timeInMeshQuantum: 10_000,
  timeInMeshCap: 300,
  firstMessageDeliveriesWeight: 0.5,
  firstMessageDeliveriesDecay: 0.99,
  firstMessageDeliveriesCap: 20,
  meshMessageDeliveriesWeight: 0,
  meshFailurePenaltyWeight: 0,
  invalidMessageDeliveriesWeight: -10,
  invalidMessageDeliveriesDecay: 0.99
}

export async function makeNode(topic, options = {}, services = {}) {
  return await createLibp2p({
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionManager: { inboundConnectionThreshold: 1000, maxIncomingPendingConnections: 1000 },
    services: {
      identify: identify(),
      ping: ping(),
      pubsub: gossipsub({
        allowPublishToZeroTopicPeers: true,
        globalSignaturePolicy: 'StrictSign',
        msgIdFn,
        // all peers are on one address here
        scoreParams: { topics: { [topic]: topicScore }, IPColocationFactorWeight: 0 },
        ...options
      }),
      ...services
    }
  })
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
export const say = (event) => process.stdout.write(JSON.stringify(event) + '\n')
