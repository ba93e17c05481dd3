import type { CallObserver } from '../../runtime/metrics/calls';
import type { Metrics } from '../../runtime/metrics/metrics';
import { LoginServiceService } from '../../proto/gen/licensing/v1/login';
import type { Launcher } from './launcher/launcher';

/** Seconds: a process starts in one, a pod with its image to pull may take minutes. */
const START_BUCKETS = [0.25, 0.5, 1, 2, 3, 5, 8, 15, 30, 60, 120];

/** Counts logins by what came of them: ok, or the stable code of the refusal. */
export function countLogins(metrics: Metrics): CallObserver {
  const count = metrics.counter('sls_logins_total', 'Logins by their result', 'result');
  return {
    began: (method) => metrics.began(method),
    ended(method, end) {
      metrics.ended(method, end);
      if (method === LoginServiceService.login.path)
        count(end.code === 'OK' ? 'ok' : (end.reason ?? `rpc.${end.code.toLowerCase()}`));
    },
  };
}

/** The launcher, with a clock at its starts. Enclaves that run already are none. */
export function measureStarts(launcher: Launcher, metrics: Metrics): Launcher {
  const observe = metrics.histogram(
    'sls_enclave_start_seconds',
    'From asking for an enclave that was at zero until it serves',
    START_BUCKETS,
  );
  const count = metrics.counter(
    'sls_enclave_starts_total',
    'Enclaves that were started, and those that did not start',
    'result',
  );
  const ensure: Launcher['ensure'] = async (enclave, options) => {
    const began = performance.now();
    try {
      const found = await launcher.ensure(enclave, options);
      if (found.started) {
        observe((performance.now() - began) / 1000);
        count('ok');
      }
      return found;
    } catch (error) {
      if (!options.signal.aborted) count('failed');
      throw error;
    }
  };
  return Object.assign(Object.create(launcher) as Launcher, { ensure });
}
