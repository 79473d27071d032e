// What purlin's WebSockets are compared with, as its users would write it:
//
//   node sockets.js uws|ws NODE_MODULES PORT
//
// An echo at every path. Where the path is /room, the message "join" enters the room,
// and one of 20 bytes goes to everybody in it, its sender included, and is no echo.
"use strict";

const [design, modules, port] = process.argv.slice(2);
const path = require("path");
const load = name => require(path.resolve(modules, name));

const uws = () => {
  const { App, DISABLED } = load("@trufflesuite/uws-js-unofficial");
  const options = { compression: DISABLED, idleTimeout: 0, maxPayloadLength: 1 << 20 };
  const app = App();
  app.ws("/room", {
    ...options,
    message: (ws, message, binary) => {
      if (message.byteLength === 20) {
        app.publish("room", message, binary);
        return;
      }
      if (message.byteLength === 4) ws.subscribe("room");
      ws.send(message, binary);
    },
  });
  app.ws("/*", { ...options, message: (ws, message, binary) => ws.send(message, binary) });
  app.listen("127.0.0.1", Number(port), token => {
    if (!token) process.exit(1);
  });
};

const ws = () => {
  const { WebSocketServer } = load("ws");
  const server = new WebSocketServer({
    host: "127.0.0.1",
    port: Number(port),
    perMessageDeflate: false,
    maxPayload: 1 << 20,
  });
  const room = new Set();
  server.on("connection", (socket, request) => {
    const inRoom = request.url === "/room";
    socket.on("close", () => room.delete(socket));
    socket.on("message", (message, binary) => {
      if (inRoom && message.length === 20) {
        for (const member of room) member.send(message, { binary });
        return;
      }
      if (inRoom && message.length === 4) room.add(socket);
      socket.send(message, { binary });
    });
  });
};

({ uws, ws })[design]();
