// Starts programs, waits for them and ends them.
import net from 'node:net';

export const freePort = () =>
  new Promise((resolve) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export async function until(what, seconds, attempt) {
  for (const began = Date.now(); ; await sleep(200)) {
    const found = await attempt().catch(() => undefined);
    if (found) {
      return found;
    }
    if (Date.now() - began > seconds * 1000) {
      throw new Error(`${what}: not within ${seconds} s`);
    }
  }
}
export async function end(child) {
  if (child && child.exitCode === null && child.signalCode === null) {
    child.kill();
    await new Promise((resolve) => child.once('exit', resolve));
  }
}
