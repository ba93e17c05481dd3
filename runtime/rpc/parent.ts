import { Socket } from 'node:net';

/**
 * Calls `gone` when the process that started this one has ended, even by SIGKILL. The parent holds the other end of a
 * pipe and never writes; the kernel closes it with the parent. PARENT_PIPE names the descriptor on this side.
 */
export function watchParent(gone: () => void, env: NodeJS.ProcessEnv = process.env): void {
  const descriptor = env['PARENT_PIPE'];
  if (descriptor === undefined) return;
  delete env['PARENT_PIPE'];
  const pipe = new Socket({ fd: Number(descriptor), readable: true, writable: false });
  pipe.on('error', () => undefined);
  pipe.once('close', gone);
  pipe.resume();
  pipe.unref();
}
