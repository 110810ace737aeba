package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"sort"
	"strings"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

const queues = 4

var everything = consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}

func (k *kit) producer(more ...producer.Option) rocketmq.Producer {
	p, err := rocketmq.NewProducer(append([]producer.Option{
		producer.WithNsResolver(primitive.NewPassthroughResolver([]string{k.namesrv})),
		producer.WithGroupName(k.topic() + "-p"),
		producer.WithInstanceName(k.instance()),
		producer.WithSendMsgTimeout(10 * time.Second),
	}, more...)...)
	must(err)
	must(p.Start())
	k.closers = append(k.closers, p.Shutdown)
	return p
}

// toQueue lets a message say its queue.
func toQueue() producer.Option {
	return producer.WithQueueSelector(producer.NewManualQueueSelector())
}

type listener func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error)

func (k *kit) consumer(s consumer.MessageSelector, f listener, more ...consumer.Option) rocketmq.PushConsumer {
	c, err := rocketmq.NewPushConsumer(append([]consumer.Option{
		consumer.WithNsResolver(primitive.NewPassthroughResolver([]string{k.namesrv})),
		consumer.WithGroupName(k.group()),
		consumer.WithInstance(k.instance()),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	}, more...)...)
	must(err)
	must(c.Subscribe(k.topic(), s, f))
	must(c.Start())
	return c
}

func (k *kit) closing(c rocketmq.PushConsumer) rocketmq.PushConsumer {
	k.closers = append(k.closers, c.Shutdown)
	return c
}

func (k *kit) message(tag, body string) *primitive.Message {
	m := primitive.NewMessage(k.topic(), []byte(body))
	if tag != "" {
		m.WithTag(tag)
	}
	return m
}

func send(p rocketmq.Producer, m ...*primitive.Message) *primitive.SendResult {
	r, err := p.SendSync(context.Background(), m...)
	must(err)
	same("send status", primitive.SendOK, r.Status)
	return r
}

// inbox is what one or more consumers got.
type inbox struct {
	mu       sync.Mutex
	messages []*primitive.MessageExt
}

func (in *inbox) add(m ...*primitive.MessageExt) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.messages = append(in.messages, m...)
}

func (in *inbox) listen(_ context.Context, m ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	in.add(m...)
	return consumer.ConsumeSuccess, nil
}

func (in *inbox) all() []*primitive.MessageExt {
	in.mu.Lock()
	defer in.mu.Unlock()
	return append([]*primitive.MessageExt(nil), in.messages...)
}

func (in *inbox) bodies() []string {
	var bodies []string
	for _, m := range in.all() {
		bodies = append(bodies, string(m.Body))
	}
	return bodies
}

// fence sends a last message into each queue: when these have come, one too
// many before them shows.
func (k *kit) fence(tag string) {
	p := k.producer(toQueue())
	for q := 0; q < queues; q++ {
		m := k.message(tag, fmt.Sprintf("~fence%d", q))
		m.Queue = &primitive.MessageQueue{Topic: k.topic(), BrokerName: "broker-a", QueueId: q}
		send(p, m)
	}
}

// expect waits for these bodies and the fences, and for nothing else.
func expect(bodies []string, inboxes ...*inbox) {
	for q := 0; q < queues; q++ {
		bodies = append(bodies, fmt.Sprintf("~fence%d", q))
	}
	sort.Strings(bodies)
	var got []string
	await(fmt.Sprint(len(bodies), " messages"), func() string {
		got = nil
		for _, in := range inboxes {
			got = append(got, in.bodies()...)
		}
		sort.Strings(got)
		fences := 0
		for _, b := range got {
			if strings.HasPrefix(b, "~fence") {
				fences++
			}
		}
		if len(got) >= len(bodies) && fences >= queues {
			return ""
		}
		return fmt.Sprint(got)
	})
	same("messages", bodies, got)
}

func numbered(word string, from, to int) []string {
	var words []string
	for i := from; i < to; i++ {
		words = append(words, fmt.Sprintf("%s%03d", word, i))
	}
	return words
}

// balance sends probes until both consumers have got some: this client does
// not show which queues a consumer holds.
func (k *kit) balance(tag string, p rocketmq.Producer, in ...*inbox) {
	await("both consumers at work", func() string {
		send(p, k.message(tag, "probe"))
		for i := range in {
			if len(in[i].all()) == 0 {
				return fmt.Sprint("nothing for consumer ", i)
			}
		}
		return ""
	})
}

func tags(k *kit) {
	var in [2]inbox
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: "TagA || TagB"}
	for i := range in {
		k.closing(k.consumer(selector, in[i].listen))
	}
	p := k.producer()
	k.balance("TagA", p, &in[0], &in[1])
	var bodies []string
	ids := map[string]string{}
	for i := 0; i < 48; i++ {
		tag := "Tag" + string("ABC"[i%3])
		m := k.message(tag, fmt.Sprintf("body ü中 %03d", i))
		m.WithKeys([]string{fmt.Sprint("key", i), "shared"})
		m.WithProperty("text", "a=b; é文 {}")
		r := send(p, m)
		if tag != "TagC" {
			bodies = append(bodies, string(m.Body))
			ids[string(m.Body)] = r.MsgID
		}
	}
	k.fence("TagB")
	// rebalancing may bring a probe twice; what is sent after it comes once
	settled := func() *inbox {
		var rest inbox
		for i := range in {
			for _, m := range in[i].all() {
				if string(m.Body) != "probe" {
					rest.add(m)
				}
			}
		}
		return &rest
	}
	await("36 messages", func() string {
		if got := settled(); len(got.all()) < 36 {
			return fmt.Sprint(got.bodies())
		}
		return ""
	})
	all := settled()
	expect(bodies, all)
	for _, m := range all.all() {
		if strings.HasPrefix(string(m.Body), "~") {
			continue
		}
		var i int
		_, err := fmt.Sscanf(string(m.Body), "body ü中 %d", &i)
		must(err)
		same("tag", "Tag"+string("ABC"[i%3]), m.GetTags())
		same("keys", fmt.Sprintf("key%d shared", i), strings.TrimSpace(m.GetKeys()))
		same("text", "a=b; é文 {}", m.GetProperty("text"))
		same("id", ids[string(m.Body)], m.MsgId)
	}
}

func broadcast(k *kit) {
	var in [2]inbox
	for i := range in {
		k.closing(k.consumer(everything, in[i].listen,
			consumer.WithConsumerModel(consumer.BroadCasting)))
	}
	p := k.producer()
	for _, body := range numbered("b", 0, 20) {
		send(p, k.message("", body))
	}
	k.fence("")
	for i := range in {
		expect(numbered("b", 0, 20), &in[i])
	}
}

func orderly(k *kit) {
	var in inbox
	suspended := map[string]bool{}
	var mu sync.Mutex
	once := func(ctx context.Context, m ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		mu.Lock()
		defer mu.Unlock()
		// once for each key: the messages behind must wait for this one
		body := string(m[0].Body)
		if strings.HasSuffix(body, "003") && !suspended[body] {
			suspended[body] = true
			return consumer.SuspendCurrentQueueAMoment, nil
		}
		return in.listen(ctx, m...)
	}
	// One consumer: with two, this client can wait 20 s and more until a
	// queue's lock goes from the one to the other.
	k.closing(k.consumer(everything, once, consumer.WithConsumerOrder(true),
		consumer.WithConsumeMessageBatchMaxSize(1),
		consumer.WithSuspendCurrentQueueTimeMillis(100*time.Millisecond)))
	p := k.producer(producer.WithQueueSelector(producer.NewHashQueueSelector()))
	var bodies []string
	for i := 0; i < 10; i++ {
		for key := 0; key < 6; key++ {
			m := k.message("", fmt.Sprintf("key%d-%03d", key, i))
			m.WithShardingKey(fmt.Sprint("key", key))
			send(p, m)
			bodies = append(bodies, string(m.Body))
		}
	}
	k.fence("")
	expect(bodies, &in)
	for key := 0; key < 6; key++ {
		word := fmt.Sprintf("key%d-", key)
		var got []string
		for _, b := range in.bodies() {
			if strings.HasPrefix(b, word) {
				got = append(got, b)
			}
		}
		same("order of "+word, numbered(word, 0, 10), got)
	}
}

// retry: "once" is refused once and comes back; "never" is refused always and
// is not seen again after its one retry.
func retry(k *kit) {
	var in inbox
	// The broker makes a group's retry topic at its first heartbeat; a client
	// that asked for the route before that asks again after 30 s only.
	must(k.consumer(everything, in.listen).Shutdown())
	await("the retry topic", func() string {
		c, err := k.puller("%RETRY%" + k.group())
		if err != nil {
			return err.Error()
		}
		must(c.Shutdown())
		return ""
	})
	k.closing(k.consumer(everything, func(ctx context.Context, m ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		in.add(m...)
		if c, ok := primitive.GetConcurrentlyCtx(ctx); ok {
			c.DelayLevelWhenNextConsume = 1
		}
		if string(m[0].Body) != "never" && (string(m[0].Body) != "once" || m[0].ReconsumeTimes == 1) {
			return consumer.ConsumeSuccess, nil
		}
		return consumer.ConsumeRetryLater, nil
	}, consumer.WithMaxReconsumeTimes(1), consumer.WithConsumeMessageBatchMaxSize(1)))
	p := k.producer()
	once := k.message("TagA", "once")
	once.WithProperty("mine", "kept")
	r := send(p, once)
	send(p, k.message("TagB", "never"))
	await("each twice", func() string {
		if len(in.all()) >= 4 {
			return ""
		}
		return fmt.Sprint(in.bodies())
	})

	// the dead letter is read by a pull from the group's own topic
	dead := "%DLQ%" + k.group()
	var letter *primitive.MessageExt
	await("a message in "+dead, func() string {
		if letter = first(k, dead); letter == nil {
			return "none"
		}
		return ""
	})
	same("dead letter", "never", string(letter.Body))
	times := map[string]int32{}
	for _, m := range in.all() {
		body := string(m.Body)
		same("reconsume times of "+body, times[body], m.ReconsumeTimes)
		times[body]++
		if body == "once" {
			same("id", r.MsgID, m.MsgId)
			same("tag", "TagA", m.GetTags())
			same("property", "kept", m.GetProperty("mine"))
		}
	}
	same("deliveries", 4, len(in.all()))
}

// puller starts a pull consumer, which fails where there is no such topic.
func (k *kit) puller(topic string) (rocketmq.PullConsumer, error) {
	c, err := rocketmq.NewPullConsumer(
		consumer.WithNsResolver(primitive.NewPassthroughResolver([]string{k.namesrv})),
		consumer.WithGroupName(k.group()), consumer.WithInstance(k.instance()))
	must(err)
	must(c.Subscribe(topic, everything))
	return c, c.Start()
}

// first returns the first message of queue 0, or nil while there is none.
func first(k *kit, topic string) *primitive.MessageExt {
	c, err := k.puller(topic)
	if err != nil {
		return nil
	}
	defer c.Shutdown()
	mq := &primitive.MessageQueue{Topic: topic, BrokerName: "broker-a"}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	r, err := c.PullFrom(ctx, mq, 0, 1)
	if err != nil || len(r.GetMessageExts()) == 0 {
		return nil
	}
	return r.GetMessageExts()[0]
}

func resume(k *kit) {
	p := k.producer()
	for round := 0; round < 2; round++ {
		bodies := numbered("m", round*10, round*10+10)
		for _, body := range bodies {
			send(p, k.message("", body))
		}
		k.fence("")
		var in inbox
		c := k.consumer(everything, in.listen)
		expect(bodies, &in)
		must(c.Shutdown())
	}
}

func ways(k *kit) {
	p := k.producer()
	ctx := context.Background()
	var bodies []string
	results := make(chan string, 10)
	for i := 0; i < 10; i++ {
		must(p.SendOneWay(ctx, k.message("One", fmt.Sprint("oneway", i))))
		must(p.SendAsync(ctx, func(_ context.Context, r *primitive.SendResult, err error) {
			if err != nil {
				results <- err.Error()
			} else {
				results <- fmt.Sprint(r.Status == primitive.SendOK)
			}
		}, k.message("Async", fmt.Sprint("async", i))))
		bodies = append(bodies, fmt.Sprint("oneway", i), fmt.Sprint("async", i))
	}
	for i := 0; i < 10; i++ {
		select {
		case r := <-results:
			same("callback", "true", r)
		case <-time.After(20 * time.Second):
			fail("only %d callbacks", i)
		}
	}
	var batch []*primitive.Message
	for i := 0; i < 10; i++ {
		batch = append(batch, k.message("Batch", fmt.Sprint("batch", i)))
		bodies = append(bodies, fmt.Sprint("batch", i))
	}
	send(p, batch...)
	var in inbox
	k.closing(k.consumer(everything, in.listen))
	await("30 messages", func() string {
		if len(in.all()) >= 30 {
			return ""
		}
		return fmt.Sprint(in.bodies())
	})
	k.fence("")
	expect(bodies, &in)
}

func large(k *kit) {
	noise := make([]byte, 300000)
	rand.New(rand.NewSource(7)).Read(noise)
	sent := map[string][]byte{
		"noise": noise,
		"text":  bytes.Repeat([]byte("x"), 200000),
		"small": {0, 1, 2, 255},
	}
	p := k.producer()
	for key, body := range sent {
		send(p, primitive.NewMessage(k.topic(), body).WithKeys([]string{key}))
	}
	var in inbox
	k.closing(k.consumer(everything, in.listen))
	await("3 messages", func() string {
		if len(in.all()) >= 3 {
			return ""
		}
		return fmt.Sprint(len(in.all()))
	})
	for _, m := range in.all() {
		key := strings.TrimSpace(m.GetKeys())
		same("body of "+key, true, bytes.Equal(sent[key], m.Body))
		same("compressed "+key, key != "small", m.SysFlag&1 != 0)
	}
}

func pull(k *kit) {
	p := k.producer(toQueue())
	mq := &primitive.MessageQueue{Topic: k.topic(), BrokerName: "broker-a", QueueId: 1}
	for round := 0; round < 2; round++ {
		var bodies []string
		for i := 0; i < 10; i++ {
			m := k.message("TagA", fmt.Sprintf("p%d%d", round, i))
			m.Queue = mq
			send(p, m)
			bodies = append(bodies, string(m.Body))
		}
		c, err := k.puller(k.topic())
		must(err)
		r, err := c.PullFrom(context.Background(), mq, 4, 6)
		must(err)
		same("status", primitive.PullFound, r.Status)
		same("messages", 6, len(r.GetMessageExts()))
		same("first", "p04", string(r.GetMessageExts()[0].Body))
		same("next, min, max", fmt.Sprint(10, 0, 10*(round+1)),
			fmt.Sprint(r.NextBeginOffset, r.MinOffset, r.MaxOffset))

		// what the group gets goes on where the consumer before has stopped
		var got []string
		await("10 messages", func() string {
			cr, err := c.Poll(context.Background(), time.Second)
			if err == nil {
				for _, m := range cr.GetMsgList() {
					got = append(got, string(m.Body))
				}
				c.ACK(context.Background(), cr, consumer.ConsumeSuccess)
			}
			if len(got) >= 10 {
				return ""
			}
			return fmt.Sprint(got)
		})
		same("polled", bodies, got)
		must(c.Shutdown())
	}
}

func missing(k *kit) {
	_, err := k.producer().SendSync(context.Background(),
		primitive.NewMessage(k.topic()+"-not", []byte("x")))
	if err == nil {
		fail("a send to a topic that is not there passed")
	}
}
