// A client of purlin's WebSockets, without a build step.
//
//   <script src="/purlin.js"></script>
//
//   const server = purlin.connect("/ws");
//   server.on(9, body => console.log("pushed", body));
//   const reply = await server.call(1, "hello");
//
// It speaks JSON ("purlin.json"). A body is any value that JSON has; bytes are given
// and come as Uint8Array. It connects again by itself, after a pause that doubles up
// to 30 s and is cut at random, so that not all clients come back at once; it begins
// anew when the server has said something, and longer when it has too much to do. A call
// that has no answer when its connection ends fails: nobody knows whether it was
// served. One that is made while there is no connection waits for the next.
(() => {
  "use strict";

  const encode = bytes => {
    let text = "";
    for (const byte of bytes) text += String.fromCharCode(byte);
    return btoa(text);
  };
  const decode = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));

  // The first pause where the server has too much to do: doubled so often.
  const LATER = 4;

  class PurlinError extends Error {
    constructor(code, text) {
      super(text);
      this.name = "PurlinError";
      this.code = code;
    }
  }

  class Connection {
    constructor(url, options = {}) {
      const at = new URL(url, location.href);
      at.protocol = at.protocol.replace("http", "ws");
      this.url = at.href;
      this.pauseMin = options.pauseMin ?? 250;
      this.pauseMax = options.pauseMax ?? 30000;
      this.timeout = options.timeout ?? 30000;
      // Behind proxies that forget a silent connection; 0: none.
      this.heartbeat = options.heartbeat ?? 20000;
      this.heartbeatId = options.heartbeatId ?? 0;
      this.onopen = options.onopen;
      this.onclose = options.onclose;
      this.handlers = new Map();
      this.pending = new Map();
      this.waiting = [];
      this.last = 0;
      this.failures = 0;
      this.ended = false;
      this.open();
    }

    // Has `f` called with the body of each push of this id.
    on(id, f) {
      this.handlers.set(id, f);
      return this;
    }

    // Sends a request; gives a promise of its reply's body.
    call(id, body, options = {}) {
      const seq = ++this.last;
      return new Promise((resolve, reject) => {
        const after = options.timeout ?? this.timeout;
        const timer = setTimeout(() => {
          this.pending.delete(seq);
          this.waiting = this.waiting.filter(one => one.seq !== seq);
          reject(new PurlinError(504, "no reply in time"));
        }, after);
        this.pending.set(seq, { resolve, reject, timer, sent: false });
        this.put(seq, this.text(id, seq, body));
      });
    }

    // Sends what has no reply.
    send(id, body) {
      this.put(0, this.text(id, undefined, body));
    }

    // Ends it for good.
    close(code = 1000) {
      this.ended = true;
      clearTimeout(this.timer);
      this.socket?.close(code);
      this.fail("closed");
    }

    text(id, seq, body) {
      if (body instanceof ArrayBuffer) body = new Uint8Array(body);
      const bytes = body instanceof Uint8Array ? encode(body) : undefined;
      return JSON.stringify({ id, seq, bytes, body: bytes === undefined ? body : undefined });
    }

    put(seq, text) {
      if (this.socket?.readyState !== WebSocket.OPEN) {
        this.waiting.push({ seq, text });
        return;
      }
      const call = this.pending.get(seq);
      if (call) call.sent = true;
      this.socket.send(text);
    }

    open() {
      const socket = new WebSocket(this.url, "purlin.json");
      this.socket = socket;
      socket.onopen = () => {
        const waiting = this.waiting;
        this.waiting = [];
        for (const { seq, text } of waiting) this.put(seq, text);
        if (this.heartbeat > 0) {
          this.beat = setInterval(() => this.ask(socket), this.heartbeat);
        }
        this.onopen?.();
      };
      socket.onmessage = ({ data }) => {
        this.failures = 0;
        this.take(JSON.parse(data));
      };
      socket.onclose = ({ code, reason }) => {
        clearInterval(this.beat);
        // "Try again later."
        if (code === 1013) this.failures = Math.max(this.failures, LATER);
        this.fail("the connection ended", call => call.sent);
        this.onclose?.(code, reason);
        if (!this.ended) this.timer = setTimeout(() => this.open(), this.pause());
      };
    }

    // Any answer proves life; without one the connection is given up.
    ask(socket) {
      const answered = this.call(this.heartbeatId, undefined, { timeout: this.heartbeat });
      answered.catch(error => {
        if (error.code === 504) socket.close(4000);
      });
    }

    pause() {
      const most = Math.min(this.pauseMax, this.pauseMin * 2 ** this.failures++);
      return most / 2 + Math.random() * most / 2;
    }

    take({ id, seq, body, bytes, error }) {
      const value = bytes === undefined ? body : decode(bytes);
      const call = this.pending.get(seq);
      if (call) {
        this.pending.delete(seq);
        clearTimeout(call.timer);
        if (error) call.reject(new PurlinError(error.code, error.text));
        else call.resolve(value);
      } else if (seq === undefined) {
        this.handlers.get(id)?.(value);
      }
    }

    fail(why, which = () => true) {
      for (const [seq, call] of this.pending) {
        if (!which(call)) continue;
        this.pending.delete(seq);
        clearTimeout(call.timer);
        call.reject(new PurlinError(0, why));
      }
    }
  }

  globalThis.purlin = { connect: (url, options) => new Connection(url, options), PurlinError };
})();
