'use strict';
// The Node client against the broker that the name server knows:
//   node client.js NAMESRV PREFIX SCENARIO...
// A scenario S uses topic PREFIX-S with 4 queues and group PREFIX-S-g, which
// must be there; a line of TAP is printed for each.

const assert = require('assert');
const { Consumer, Producer, Message } = require('ali-ons');

const LIMIT = 60000;
const PATIENCE = 45000;
const QUEUES = 4;
const [ nameSrv, prefix, ...names ] = process.argv.slice(2);

// The client's errors are kept for the report of a scenario that fails.
const log = [];
const logger = {
  debug() {},
  info() {},
  warn(...words) { log.push(words.join(' ')); },
  error(...words) { log.push(words.join(' ')); },
};

// The client keeps a producer of its own, which prints errors by default.
function quiet() {
  const own = Producer.defaultProducer;
  if (!own.listenerCount('error')) own.on('error', err => log.push(err.message));
}

class Kit {
  constructor(scenario) {
    this.topic = `${prefix}-${scenario}`;
    this.group = `${this.topic}-g`;
    this.clients = [];
  }

  // Clients of one instance name share a client id; two consumers of a group
  // in one process must not.
  options(more) {
    return Object.assign({
      httpclient: {}, // only used to find name servers by HTTP
      nameSrv,
      logger,
      instanceName: `${this.topic}-${process.pid}-${this.clients.length}`,
      // a new group's retry topic is not there when a client first asks
      pollNameServerInteval: 1000,
      rebalanceInterval: 1000,
    }, more);
  }

  async producer(group = `${this.topic}-p`) {
    const p = new Producer(this.options({ producerGroup: group, sendMsgTimeout: 10000 }));
    p.on('error', err => log.push(err.message));
    this.clients.push(p);
    await p.ready();
    quiet();
    return p;
  }

  async consumer(expression, handler, more) {
    const c = new Consumer(this.options(Object.assign({
      consumerGroup: this.group,
      consumeFromWhere: 'CONSUME_FROM_FIRST_OFFSET',
    }, more)));
    c.on('error', err => log.push(err.message));
    this.clients.push(c);
    c.subscribe(this.topic, expression, handler);
    await c.ready();
    quiet();
    return c;
  }

  held(c) {
    return [ ...c.processQueueTable.values() ]
      .filter(q => q.messageQueue.topic === this.topic).length;
  }

  async balanced(a, b, each) {
    await until(() => this.held(a) === each && this.held(b) === each,
      () => `${each} queues each; held are ${this.held(a)} and ${this.held(b)}`);
  }

  async close() {
    for (const client of this.clients.reverse()) await client.close();
  }
}

async function until(condition, what) {
  for (const end = Date.now() + PATIENCE; !condition();) {
    if (Date.now() > end) throw new Error(`waited in vain for ${what()}`);
    await new Promise(resolve => setTimeout(resolve, 20));
  }
}

async function send(p, message) {
  const result = await p.send(message);
  assert.strictEqual(result.sendStatus, 'SEND_OK');
  return result;
}

// One message into each queue: when these have come, one too many before them
// shows. The client goes through the queues in turn.
async function fence(kit, p, tag) {
  for (let i = 0; i < QUEUES; i++) await send(p, new Message(kit.topic, tag, 'fence'));
}

function inbox() {
  const all = [];
  const listen = async m => { all.push(m); };
  const bodies = () => all.map(m => m.body.toString()).filter(b => b !== 'fence').sort();
  const fences = () => all.filter(m => m.body.toString() === 'fence').length;
  return { all, listen, bodies, fences };
}

async function expect(bodies, ...boxes) {
  const got = () => [].concat(...boxes.map(b => b.bodies())).sort();
  const fences = () => boxes.reduce((n, b) => n + b.fences(), 0);
  await until(() => got().length >= bodies.length && fences() >= QUEUES,
    () => `${bodies.length} messages and the fences; there are ${fences()} and ${got()}`);
  assert.deepStrictEqual(got(), [ ...bodies ].sort());
}

const scenarios = {
  async tags(kit) {
    const in0 = inbox();
    const in1 = inbox();
    const c0 = await kit.consumer('TagA || TagB', in0.listen);
    const c1 = await kit.consumer('TagA || TagB', in1.listen);
    await kit.balanced(c0, c1, 2);
    const p = await kit.producer();
    const sent = new Map();
    for (let i = 0; i < 48; i++) {
      const tag = 'Tag' + 'ABC'[i % 3];
      const m = new Message(kit.topic, tag, `body ü中 ${i}`);
      m.keys = [ `key${i}`, 'shared' ];
      m.properties.text = 'a=b; é文 {}';
      const r = await send(p, m);
      if (tag !== 'TagC') sent.set(`body ü中 ${i}`, { tag, keys: `key${i} shared`, id: r.msgId });
    }
    await fence(kit, p, 'TagB');
    await expect([ ...sent.keys() ], in0, in1);
    assert(in0.all.length && in1.all.length, 'both consumers got some');
    for (const m of [ ...in0.all, ...in1.all ]) {
      const body = m.body.toString();
      if (body === 'fence') continue;
      const { tag, keys } = sent.get(body);
      assert.strictEqual(m.tags, tag);
      assert.strictEqual(m.keys, keys);
      assert.strictEqual(m.properties.text, 'a=b; é文 {}');
      assert.strictEqual(m.reconsumeTimes, 0);
    }
  },

  async broadcast(kit) {
    const in0 = inbox();
    const in1 = inbox();
    const c0 = await kit.consumer('*', in0.listen, { isBroadcast: true });
    const c1 = await kit.consumer('*', in1.listen, { isBroadcast: true });
    await kit.balanced(c0, c1, 4);
    const p = await kit.producer();
    const bodies = [];
    for (let i = 0; i < 20; i++) {
      bodies.push(`b${i}`);
      await send(p, new Message(kit.topic, null, `b${i}`));
    }
    await fence(kit, p, null);
    await expect(bodies, in0);
    await expect(bodies, in1);
  },

  // A sharding key chooses the queue. This version of the client takes any
  // queue where the key's is number 0, so no such key is used.
  async orderly(kit) {
    const box = inbox();
    await kit.consumer('*', box.listen);
    const p = await kit.producer();
    const hash = key => require('crypto').createHash('md5').update(key).digest()
      .readUInt32BE() % QUEUES;
    const keys = [];
    for (let i = 0; keys.length < 4; i++) if (hash(`key${i}`) !== 0) keys.push(`key${i}`);
    const bodies = [];
    for (let i = 0; i < 10; i++) {
      for (const key of keys) {
        const m = new Message(kit.topic, null, `${key}-${i}`);
        m.shardingKey = key;
        await send(p, m);
        bodies.push(`${key}-${i}`);
      }
    }
    await fence(kit, p, null);
    await expect(bodies, box);
    for (const key of keys) {
      const mine = box.all.filter(m => m.body.toString().startsWith(key + '-'));
      assert.deepStrictEqual(mine.map(m => m.body.toString()),
        bodies.filter(b => b.startsWith(key + '-')));
      assert.strictEqual(new Set(mine.map(m => m.queueId)).size, 1, 'one queue a key');
    }
  },

  async retry(kit) {
    const seen = [];
    await kit.consumer('*', async m => {
      seen.push([ m.body.toString(), m.reconsumeTimes, m.tags, m.properties.mine ].join());
      return m.reconsumeTimes === 0 ? Consumer.ACTION_RETRY : undefined;
    });
    const p = await kit.producer();
    const m = new Message(kit.topic, 'TagA', 'once');
    m.properties.mine = 'kept';
    await send(p, m);
    await until(() => seen.length >= 2, () => `a second delivery; seen ${seen.join(' ')}`);
    assert.deepStrictEqual(seen, [ 'once,0,TagA,kept', 'once,1,TagA,kept' ]);
  },

  // The second consumer goes on where the first has stopped.
  async resume(kit) {
    const p = await kit.producer();
    for (let round = 0; round < 2; round++) {
      const bodies = [];
      for (let i = 0; i < 10; i++) {
        bodies.push(`m${round}${i}`);
        await send(p, new Message(kit.topic, null, `m${round}${i}`));
      }
      await fence(kit, p, null);
      const box = inbox();
      const c = await kit.consumer('*', box.listen);
      await expect(bodies, box);
      kit.clients.splice(kit.clients.indexOf(c), 1);
      await c.close();
    }
  },

  async large(kit) {
    const noise = require('crypto').randomBytes(100000);
    const bodies = new Map([
      [ 'noise', noise ],
      [ 'text', Buffer.alloc(120000, 'x') ],
      [ 'small', Buffer.from([ 0, 1, 2, 255 ]) ],
    ]);
    const p = await kit.producer();
    for (const [ key, body ] of bodies) {
      const m = new Message(kit.topic, null, body);
      m.keys = [ key ];
      await send(p, m);
    }
    const box = inbox();
    await kit.consumer('*', box.listen);
    await until(() => box.all.length >= 3, () => `3 messages; there are ${box.all.length}`);
    for (const m of box.all) {
      assert(bodies.get(m.keys).equals(m.body), `body of ${m.keys}`);
      bodies.delete(m.keys);
    }
    assert.strictEqual(bodies.size, 0);
  },

  async missing(kit) {
    const p = await kit.producer();
    await assert.rejects(p.send(new Message(`${kit.topic}-not`, null, 'x')));
  },
};

async function run(name) {
  const kit = new Kit(name);
  let timer;
  const late = new Promise((resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${LIMIT} ms`)), LIMIT);
  });
  try {
    await Promise.race([ scenarios[name](kit), late ]);
    await Promise.race([ kit.close(), late ]);
  } finally {
    clearTimeout(timer);
  }
}

async function main() {
  let failed = 0;
  for (const name of names) {
    const start = Date.now();
    log.length = 0;
    try {
      await run(name);
      console.log(`ok - ${name} (${Date.now() - start} ms)`);
    } catch (err) {
      failed++;
      const text = [ err.stack, ...log.slice(-10) ].join('\n').replace(/\n/g, '\n# ');
      console.log(`not ok - ${name}\n# ${text}`);
    }
  }
  process.exit(failed || !names.length ? 1 : 0);
}

process.on('unhandledRejection', err => log.push(String(err)));
main();
