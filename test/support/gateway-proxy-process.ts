// The gateway proxy as a process of its own, for deploy:local: node gateway-proxy-process.ts STAGE_URL PORT
import { startGatewayProxy } from './gateway-proxy.ts';

const [stageUrl, port] = process.argv.slice(2);
if (stageUrl === undefined || port === undefined) throw new Error('usage: gateway-proxy-process.ts STAGE_URL PORT');
const proxy = await startGatewayProxy({ stageUrl, port: Number(port) });
console.log(`${proxy.url} -> ${stageUrl}`);
