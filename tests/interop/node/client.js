// A client of mutual TLS: node client.js PORT NAME CA [CERTIFICATE KEY]
const tls = require('tls'), fs = require('fs');
const [port, name, ca, certificate, key] = process.argv.slice(2);
const options = { host: '127.0.0.1', port: Number(port), servername: name, ca: fs.readFileSync(ca) };
if (certificate) Object.assign(options, { cert: fs.readFileSync(certificate), key: fs.readFileSync(key) });
tls.connect(options)
  .on('data', (said) => process.stdout.write(said))
  .on('error', (error) => { console.error(error.message); process.exit(1); });
