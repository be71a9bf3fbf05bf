module example.com/mutual

go 1.21
