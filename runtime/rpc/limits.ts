import { constants } from 'node:http2';
import type { IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import { status } from '@grpc/grpc-js';
import type { Server, ServiceDefinition } from '@grpc/grpc-js';
import { Bounded } from './bounded';
import { http2ServersOf, onSession, sentStatus } from './http2';
import { Misuse } from './misuse';
import { forwardedAddress, isLocal, subscriberAt, subscriberOf, TrustedProxies } from './peer';
import { ruleOf } from './rules';
import { systemClock } from '../clock';
import type { Clock } from '../clock';

/** Calls at once on a connection that a proxy made: those of many. */
const STREAMS_OF_PROXY = 4096;
/** For an answer to be read, after its call's deadline. */
const READ_MS = 10_000;
/** Unless told. */
export const MISUSES = 200;

/** Where there is one more of something than there may be, the address that has the most of it makes room: nobody is ended by a stranger elsewhere. */
export interface PeerLimits {
  /**
   * HTTP/2 connections. One more, and of that address the one that has been without work for longest is closed. Where all of them have some, the oldest
   * makes room for another address, and none for its own.
   */
  connections?: number;
  /** TLS handshakes that aren't finished. One more, and the oldest of that address is closed. */
  handshakes?: number;
  handshakeMs?: number;
  /** Requests that aren't there as a whole. One more, and the oldest of that address is cut: an honest one is never long the oldest. */
  requests?: number;
  requestMs?: number;
  /** Calls with a deadline of their own (rules.ts), however long their callers leave the answer unread. One more, and the oldest of that address is cut. */
  calls?: number;
  /**
   * Calls that an address may give up, or be refused for who it is, at once, and again in ten seconds. One more, and its connections are closed, and it opens no
   * other for a while.
   */
  misuses?: number;
  /** What stands before the server: its connections carry the calls of many, so no single caller ends them. */
  proxies?: TrustedProxies | undefined;
}

/** For programs that have 256 MiB (knative/base), of which these hold a quarter. Few call them: attestors, administrators, the enclaves of a node. */
export const FEW_PEERS: PeerLimits = { connections: 384, requests: 256, calls: 512 };

/** Connections, and how many calls are at work on each. */
class Connections {
  /** The one that began a call last is last. */
  private readonly working = new Map<ServerHttp2Session, { owner: string; calls: number }>();

  constructor(private readonly most: number) {}

  add(session: ServerHttp2Session, owner: string): void {
    this.working.set(session, { owner, calls: 0 });
    session.once('close', () => this.working.delete(session));
    if (this.working.size > this.most) this.choose(session, owner).destroy();
  }

  /** Closes all of an owner's. */
  closeAll(owner: string): void {
    for (const [session, entry] of this.working) if (entry.owner === owner) turnAwaySoon(session);
  }

  /** @returns for the call's end */
  began(session: ServerHttp2Session): () => void {
    const entry = this.working.get(session);
    if (entry === undefined) return () => undefined;
    this.working.delete(session);
    this.working.set(session, entry);
    entry.calls += 1;
    return () => void (entry.calls -= 1);
  }

  /** Which one closes for one more: of the owner who has the most, one without work; where all have some, the oldest, but for one more of their own. */
  private choose(added: ServerHttp2Session, owner: string): ServerHttp2Session {
    const counts = new Map<string, number>();
    for (const { owner: one } of this.working.values()) counts.set(one, (counts.get(one) ?? 0) + 1);
    const [greediest] = [...counts].reduce((one, other) => (other[1] > one[1] ? other : one));
    const theirs = [...this.working].filter(([, entry]) => entry.owner === greediest);
    const [idle] = theirs.find(([, { calls }]) => calls === 0) ?? [];
    return idle ?? (owner === greediest ? added : theirs[0]![0]);
  }
}

function turnAway(session: ServerHttp2Session): void {
  session.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM);
}

/**
 * For who is turned away by what happens on a stream: Node.js (20.20) still reads the session's frames then, and where answers wait to be sent it frees what it reads
 * from (a double free, or SIGSEGV). Neither a microtask nor `nextTick` is late enough.
 */
function turnAwaySoon(session: ServerHttp2Session): void {
  // What else one reading brings is not answered.
  session.removeAllListeners('stream');
  session.on('stream', (stream) => stream.on('error', () => undefined));
  setImmediate(turnAway, session);
}

/**
 * Its caller did not wait for the answer. `aborted` alone doesn't tell: a call that is refused at once has its answer before the reset that came with it is read.
 * A connection that is lost resets what is open on it.
 */
function isGivenUp({ aborted, rstCode }: ServerHttp2Stream): boolean {
  return aborted || rstCode !== constants.NGHTTP2_NO_ERROR;
}

/** Its caller may not, whoever that is: anybody's calls can be refused so, and nobody's are often. */
function isRefused(stream: ServerHttp2Stream): boolean {
  const code = Number(sentStatus(stream)?.['grpc-status']);
  return code === status.UNAUTHENTICATED || code === status.PERMISSION_DENIED;
}

/** Whose call it is: behind a proxy of ours its caller's. */
function callerOf(
  socket: Pick<Socket, 'remoteAddress'>,
  headers: IncomingHttpHeaders,
  proxies: TrustedProxies,
): string {
  const forwarded = headers['x-forwarded-for'];
  const text = Array.isArray(forwarded) ? forwarded.join(',') : (forwarded ?? '');
  return subscriberOf(forwardedAddress(socket.remoteAddress, text, proxies));
}

/**
 * Bounds what callers that nobody knows can hold of a server: grpc-js itself keeps every connection, and of every call as much as came of its
 * request, for as long as the other end likes.
 * @param server with its port bound
 * @param services for which of their methods stream requests, and how long each may last
 */
export function limitPeers(
  server: Server,
  services: readonly ServiceDefinition[],
  limits: PeerLimits = {},
  clock: Clock = systemClock,
  misuse = new Misuse(limits.misuses ?? MISUSES, clock),
): void {
  const { connections = 1024, requests = 2048, requestMs = 10_000, calls = 4096 } = limits;
  const { proxies = TrustedProxies.none } = limits;
  const methods = services.flatMap((definition) => Object.values(definition));
  const streamsRequests = new Set(methods.filter(({ requestStream }) => requestStream).map(({ path }) => path));
  const deadlines = new Map(
    methods.flatMap(({ path }) => {
      const { timeout } = ruleOf(path);
      return typeof timeout === 'object' && 'deadlineMs' in timeout
        ? [[path, timeout.deadlineMs + READ_MS] as const]
        : [];
    }),
  );

  const cutHere = new WeakSet<ServerHttp2Stream>();
  // A stream that is only closed waits for what its other end does not send.
  const cut = (stream: ServerHttp2Stream): void => {
    cutHere.add(stream);
    stream.destroy();
  };
  const unfinished = new Bounded<ServerHttp2Stream>(requests, cut, clock);
  const bounded = new Bounded<ServerHttp2Stream>(calls, cut, clock);
  const open = new Connections(connections);

  // On a unix socket all callers have one address, and one of them is not to close it to the others.
  const isClosedTo = (peer: string): boolean => !isLocal(peer) && misuse.isClosedTo(peer);
  onSession(server, (session) => {
    const { socket } = session;
    const peer = subscriberAt(socket);
    const isProxy = proxies.has(socket.remoteAddress ?? '');
    // It was closed during the handshake.
    if (isClosedTo(peer)) {
      turnAway(session);
      return;
    }
    if (isProxy) session.settings({ maxConcurrentStreams: STREAMS_OF_PROXY });
    open.add(session, peer);
    session.on('stream', (stream, headers) => {
      const owner = isProxy ? callerOf(socket, headers, proxies) : peer;
      const path = String(headers[':path']);
      let ended = (): void => undefined;
      if (streamsRequests.has(path)) {
        ended = open.began(session);
        // An answer can be whole while its caller keeps the request open for as long as they like.
        stream.once('finish', () => {
          if (!stream.readableEnded && !stream.destroyed) unfinished.add(stream, owner, requestMs);
        });
      } else {
        unfinished.add(stream, owner, requestMs);
        stream.once('end', () => {
          unfinished.delete(stream, owner);
          ended = open.began(session);
        });
      }
      const deadlineMs = deadlines.get(path);
      if (deadlineMs !== undefined) bounded.add(stream, owner, deadlineMs);
      stream.once('close', () => {
        unfinished.delete(stream, owner);
        bounded.delete(stream, owner);
        ended();
        if (cutHere.has(stream) || isClosedTo(owner) || !(isGivenUp(stream) || isRefused(stream))) return;
        if (!misuse.isTooMuch(owner) || isProxy) return;
        if (isLocal(owner)) turnAwaySoon(session);
        else open.closeAll(owner);
      });
    });
  });
  limitHandshakes(server, limits, clock);
  closeDoor(server, (socket) => isClosedTo(subscriberAt(socket)));
}

/** Ends connections before anything is made for them: a TLS handshake, or an HTTP/2 session, costs as much as a call. */
function closeDoor(server: Server, isClosedTo: (socket: Socket) => boolean): void {
  for (const http2 of http2ServersOf(server)) {
    const listeners = http2.listeners('connection') as Array<(socket: Socket) => void>;
    http2.removeAllListeners('connection');
    http2.on('connection', (socket: Socket) => {
      if (isClosedTo(socket)) socket.destroy();
      else for (const listener of listeners) listener.call(http2, socket);
    });
  }
}

/** Only a server with TLS has any. Both of its events are about one connection when they name the same other end. */
function limitHandshakes(server: Server, { handshakes = 1024, handshakeMs = 10_000 }: PeerLimits, clock: Clock): void {
  const open = new Map<string, Socket>();
  const bounded = new Bounded<Socket>(handshakes, (socket) => socket.destroy(), clock);
  const nameOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress}|${remotePort}`;
  for (const http2 of http2ServersOf(server)) {
    if (!('setSecureContext' in http2)) continue;
    http2.on('connection', (socket) => {
      const name = nameOf(socket);
      open.set(name, socket);
      const owner = subscriberAt(socket);
      bounded.add(socket, owner, handshakeMs);
      socket.once('close', () => {
        bounded.delete(socket, owner);
        if (open.get(name) === socket) open.delete(name);
      });
    });
    http2.on('secureConnection', (socket) => {
      const transport = open.get(nameOf(socket));
      if (transport) bounded.delete(transport, subscriberAt(socket));
    });
  }
}
