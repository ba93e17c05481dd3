import type { ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import type { Server, ServiceDefinition } from '@grpc/grpc-js';
import { http2ServersOf, onSession } from './http2';
import { ruleOf } from './rules';

export interface PeerLimits {
  /** HTTP/2 connections. One more, and the one that has been without work for longest is closed: the new one, where all others have some. */
  connections?: number;
  /** TLS handshakes that aren't finished. One more, and the oldest is closed. */
  handshakes?: number;
  handshakeMs?: number;
  /** Requests that aren't there as a whole. One more, and the oldest is cut: an honest one is never long the oldest. */
  requests?: number;
  requestMs?: number;
  /** Calls with a deadline of their own (rules.ts), however long their callers leave the answer unread. One more, and the oldest is cut. */
  calls?: number;
  /** For the answer to be read, after the deadline. */
  readMs?: number;
}

/** Things that end by themselves, or when they are too old or too many. */
class Bounded<T> {
  private readonly timers = new Map<T, NodeJS.Timeout>();

  constructor(
    private readonly most: number,
    private readonly cut: (thing: T) => void,
  ) {}

  add(thing: T, ms: number): void {
    const [oldest] = this.timers.keys();
    if (oldest !== undefined && this.timers.size >= this.most) this.end(oldest);
    this.timers.set(thing, setTimeout(() => this.end(thing), ms).unref());
  }

  delete(thing: T): void {
    clearTimeout(this.timers.get(thing));
    this.timers.delete(thing);
  }

  private end(thing: T): void {
    this.delete(thing);
    this.cut(thing);
  }
}

/**
 * Bounds what callers that nobody knows can hold of a server: grpc-js itself keeps every connection, and of every call as much as came of its
 * request, for as long as the other end likes.
 * @param server with its port bound
 * @param services for which of their methods stream requests, and how long each may last
 */
export function limitPeers(server: Server, services: readonly ServiceDefinition[], limits: PeerLimits = {}): void {
  const { connections = 1024, requests = 2048, requestMs = 10_000, calls = 4096, readMs = 10_000 } = limits;
  const methods = services.flatMap((definition) => Object.values(definition));
  const streamsRequests = new Set(methods.filter(({ requestStream }) => requestStream).map(({ path }) => path));
  const deadlines = new Map(
    methods.flatMap(({ path }) => {
      const { lasts } = ruleOf(path);
      return typeof lasts === 'object' && 'deadlineMs' in lasts ? [[path, lasts.deadlineMs + readMs] as const] : [];
    }),
  );

  // A stream that is only closed waits for what its other end does not send.
  const cut = (stream: ServerHttp2Stream): void => void stream.destroy();
  const unfinished = new Bounded<ServerHttp2Stream>(requests, cut);
  const bounded = new Bounded<ServerHttp2Stream>(calls, cut);
  /** Calls at work, by connection; the one that began a call last is last. */
  const working = new Map<ServerHttp2Session, number>();

  onSession(server, (session) => {
    working.set(session, 0);
    session.once('close', () => working.delete(session));
    if (working.size > connections) [...working].find(([, count]) => count === 0)?.[0].destroy();

    session.on('stream', (stream, headers) => {
      const path = String(headers[':path']);
      let counted = false;
      const began = (): void => {
        const count = working.get(session);
        if (count === undefined) return;
        counted = true;
        working.delete(session);
        working.set(session, count + 1);
      };
      if (streamsRequests.has(path)) {
        began();
      } else {
        unfinished.add(stream, requestMs);
        stream.once('end', () => {
          unfinished.delete(stream);
          began();
        });
      }
      const deadlineMs = deadlines.get(path);
      if (deadlineMs !== undefined) bounded.add(stream, deadlineMs);
      stream.once('close', () => {
        unfinished.delete(stream);
        bounded.delete(stream);
        const count = working.get(session);
        if (counted && count !== undefined) working.set(session, count - 1);
      });
    });
  });
  limitHandshakes(server, limits);
}

/** Only a server with TLS has any. Both of its events are about one connection when they name the same other end. */
function limitHandshakes(server: Server, { handshakes = 1024, handshakeMs = 10_000 }: PeerLimits): void {
  const open = new Map<string, Socket>();
  const bounded = new Bounded<Socket>(handshakes, (socket) => socket.destroy());
  const nameOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress}|${remotePort}`;
  for (const http2 of http2ServersOf(server)) {
    if (!('setSecureContext' in http2)) continue;
    http2.on('connection', (socket) => {
      const name = nameOf(socket);
      open.set(name, socket);
      bounded.add(socket, handshakeMs);
      socket.once('close', () => {
        bounded.delete(socket);
        if (open.get(name) === socket) open.delete(name);
      });
    });
    http2.on('secureConnection', (socket) => {
      const transport = open.get(nameOf(socket));
      if (transport) bounded.delete(transport);
    });
  }
}
