import { readFileSync } from 'node:fs';
import { relative } from 'node:path';
import TestRunner from 'jest-runner';

/**
 * Jest's runner for mutants: run.mjs starts it with a plan, and hears of each step by IPC.
 * First each test file runs without a mutant, and is asked which ones it reaches. Then each mutant runs with the files that reach it,
 * those of its own part of attestation/ and the vectors first, the cheapest first, until one fails.
 */
export default class MutationRunner {
  isSerial = true;
  supportsEventEmitters = false;

  constructor(globalConfig, context) {
    this.arguments = [globalConfig, context];
  }

  async runTests(tests, watcher) {
    const plan = JSON.parse(readFileSync(process.env.SLS_MUTATION_PLAN, 'utf8'));
    const nameOf = (test) => relative(test.context.config.rootDir, test.path);
    const state = { active: undefined, reached: new Set() };
    // The environment hands it to the sandboxes.
    globalThis.mutation = (number) => {
      if (state.active === undefined) state.reached.add(number);
      return state.active === number;
    };
    const passes = async (test) => {
      const runner = new TestRunner(...this.arguments);
      let passed = false;
      runner.on('test-file-success', ([, result]) => {
        passed = result.numFailingTests === 0 && !result.testExecError && result.numPassingTests > 0;
      });
      await runner.runTests([test], watcher, { serial: true });
      return passed;
    };

    for (const test of tests) {
      const name = nameOf(test);
      if (name in plan.files) continue;
      state.reached = new Set();
      await tell({ file: name });
      const before = process.cpuUsage();
      if (!(await passes(test))) return tell({ broken: name });
      const { user, system } = process.cpuUsage(before);
      const file = { seconds: (user + system) / 1e6, reached: [...state.reached] };
      plan.files[name] = file;
      await tell({ ran: name, ...file });
    }
    // Most mutants are noticed near their file, if at all.
    const isNear = (test, { near }) => near.some((folder) => nameOf(test).startsWith(folder));
    const cheapestFirst = [...tests].sort((a, b) => plan.files[nameOf(a)].seconds - plan.files[nameOf(b)].seconds);
    for (const mutant of plan.mutants) {
      const { number } = mutant;
      const all = cheapestFirst.filter((test) => plan.files[nameOf(test)].reached.includes(number));
      const near = all.filter((test) => isNear(test, mutant));
      const reaching = plan.nearOnly ? near : [...near, ...all.filter((test) => !near.includes(test))];
      state.active = number;
      let noticedBy;
      for (const test of reaching) {
        await tell({ number, file: nameOf(test) });
        if (await passes(test)) continue;
        noticedBy = nameOf(test);
        break;
      }
      await tell({ number, noticedBy, files: reaching.length, done: true });
    }
  }
}

function tell(message) {
  return new Promise((resolve, reject) => process.send(message, (error) => (error ? reject(error) : resolve())));
}
