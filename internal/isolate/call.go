package isolate

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"coreml/internal/fault"
)

// Call is an operation to ask a child for.
type Call struct {
	c    *Child
	Op   byte
	slot *slot
	*Encoder
}

// NewCall starts a call with shared bytes of shared memory. It has to be sent or dropped.
func (c *Child) NewCall(op byte, shared int) (*Call, error) {
	k := &Call{c: c, Op: op}
	if shared > 0 {
		var err error
		if k.slot, err = c.seg.take(shared); err != nil {
			select {
			case <-c.dead:
				return nil, c.death
			default:
				return nil, err
			}
		}
	}
	k.Encoder = NewEncoder(k.Mem())
	k.Byte(op)
	off, size := k.slot.where()
	k.fixed(off)
	k.fixed(size)
	return k, nil
}

func (s *slot) where() (off, size uint64) {
	if s == nil {
		return 0, 0
	}
	return uint64(s.off), uint64(len(s.mem))
}

// Mem is the call's shared memory.
func (k *Call) Mem() []byte {
	if k.slot == nil {
		return nil
	}
	return k.slot.mem
}

// Drop gives up a call that was not sent.
func (k *Call) Drop() { k.slot.release() }

// Reply is the answer to a call.
type Reply struct {
	// Enlarged is the shared memory that the answer needed beyond the call's; 0 if that was enough.
	Enlarged int
	body     []byte
	call     *call
}

// Decoder reads the reply.
func (r *Reply) Decoder() *Decoder {
	if r.call.slot == nil {
		return NewDecoder(r.body, nil)
	}
	return NewDecoder(r.body, r.call.slot.mem)
}

// Release gives the reply's shared memory back.
func (r *Reply) Release() { r.call.release() }

// Discard is Release for a call whose like will not be made again.
func (r *Reply) Discard() {
	r.call.small.discard()
	r.call.slot.discard()
}

// Send sends the call and waits for the answer, the end of ctx or the end of the
// child, whichever comes first. The reply has to be released.
func (k *Call) Send(ctx context.Context) (*Reply, error) {
	if err := ctx.Err(); err != nil {
		k.Drop()
		return nil, timeout(err, "calling the child")
	}
	c := k.c
	p := c.register(k.slot)
	msg, err := seal(k.buf, kindCall, p.id)
	if err == nil {
		err = c.send(ctx, msg)
	}
	if err != nil {
		if ctx.Err() != nil || c.isDead() {
			return nil, c.giveUp(ctx, p)
		}
		c.forget(p)
		p.release()
		return nil, fault.As(fault.Limit, err)
	}
	for {
		select {
		case f := <-p.answer:
			r, err := c.take(ctx, p, f)
			if r != nil || err != nil {
				return r, err
			}
		case <-c.dead:
			return c.lastChance(ctx, p)
		case <-ctx.Done():
			return c.lastChance(ctx, p)
		}
	}
}

func (c *Child) isDead() bool {
	select {
	case <-c.dead:
		return true
	default:
		return false
	}
}

// lastChance takes an answer that came together with the end.
func (c *Child) lastChance(ctx context.Context, p *call) (*Reply, error) {
	select {
	case f := <-p.answer:
		if f.kind != kindRoom {
			return c.take(ctx, p, f)
		}
	default:
	}
	return nil, c.giveUp(ctx, p)
}

// take handles a frame that answers p; both results are nil when the answer is still to come.
func (c *Child) take(ctx context.Context, p *call, f frame) (*Reply, error) {
	switch f.kind {
	case kindReply:
		c.forget(p)
		return &Reply{p.enlarged, f.body, p}, nil
	case kindError:
		c.forget(p)
		p.release()
		return nil, decodeError(f.body)
	}
	return nil, c.enlarge(ctx, p, f)
}

// enlarge gives the child a larger slot for its answer.
func (c *Child) enlarge(ctx context.Context, p *call, f frame) error {
	var n uint64
	if len(f.body) == 8 {
		n = binary.LittleEndian.Uint64(f.body)
	}
	if n == 0 || p.enlarged > 0 {
		c.Distrust(fmt.Errorf("it asked for %d bytes more", n))
		return c.giveUp(ctx, p)
	}
	larger, err := c.seg.take(int(min(n, 1<<62)))
	if err == nil {
		p.small, p.slot, p.enlarged = p.slot, larger, int(n)
		if err = c.grant(p.id, larger); err == nil {
			return nil
		}
		if c.isDead() {
			return c.giveUp(ctx, p)
		}
	} else {
		_ = c.grant(p.id, nil)
	}
	c.abandon(p, time.Now().Add(c.o.Grace))
	return err
}

func (c *Child) grant(id uint64, s *slot) error {
	off, size := s.where()
	b := appendHeader(nil)
	b = binary.LittleEndian.AppendUint64(b, off)
	b = binary.LittleEndian.AppendUint64(b, size)
	msg, err := seal(b, kindGrant, id)
	if err != nil {
		return err
	}
	return c.send(context.Background(), msg)
}

func (c *Child) register(s *slot) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	p := &call{id: c.last, slot: s, answer: make(chan frame, 2)}
	c.calls[p.id] = p
	return p
}

func (c *Child) forget(p *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, p.id)
}

// send writes one message. A child that does not read is killed rather than waited for.
func (c *Child) send(ctx context.Context, msg []byte) error {
	select {
	case c.sending <- struct{}{}:
	case <-c.dead:
		return c.death
	case <-ctx.Done():
		return ctx.Err()
	}
	t := time.AfterFunc(stall, func() { c.kill(cause{reason: "it does not read its messages", ours: true}) })
	_, err := c.to.Write(msg)
	t.Stop()
	<-c.sending
	if err == nil {
		return nil
	}
	// The pipe is broken: the child is about to be gone, and how it ended says more.
	c.kill(cause{reason: closedPipe})
	<-c.dead
	return c.death
}

// giveUp leaves a call whose child is gone or whose context has ended.
func (c *Child) giveUp(ctx context.Context, p *call) error {
	if c.isDead() {
		c.forget(p)
		p.release()
		return c.death
	}
	err := ctx.Err()
	until := time.Now().Add(c.o.Grace)
	if err != context.DeadlineExceeded {
		until = time.Now().Add(c.o.CancelGrace)
		if at, ok := ctx.Deadline(); ok && at.Add(c.o.Grace).Before(until) {
			until = at.Add(c.o.Grace)
		}
	}
	c.abandon(p, until)
	return timeout(err, "calling the child")
}

// abandon leaves the call to the child: it is asked to stop, and killed if it has not by then.
func (c *Child) abandon(p *call, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.abandoned = true
	select { // what came meanwhile
	case f := <-p.answer:
		if f.kind != kindRoom {
			c.drop(p.id, p)
			return
		}
		go c.grant(p.id, nil)
	default:
	}
	select {
	case <-c.dead:
		c.drop(p.id, p)
		return
	default:
	}
	p.timer = time.AfterFunc(time.Until(until), func() { c.killFor(p) })
	go func() {
		if msg, err := seal(appendHeader(nil), kindCancel, p.id); err == nil {
			_ = c.send(context.Background(), msg)
		}
	}()
}

// killFor kills the child for an abandoned call, unless that has ended meanwhile.
func (c *Child) killFor(p *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls[p.id] == p {
		c.killLocked(cause{reason: "killed, because it went on with a call that nobody waited for any more", ours: true, late: true})
	}
}
