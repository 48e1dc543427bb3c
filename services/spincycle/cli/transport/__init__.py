"""How spinc reaches the services: gRPC, REST and streams that reconnect."""
