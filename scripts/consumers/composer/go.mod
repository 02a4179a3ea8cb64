module airferry.example/consumer

go 1.25

require github.com/osbuild/images v0.200.0

require github.com/gobwas/glob v0.2.3 // indirect
