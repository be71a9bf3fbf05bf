module doctor

go 1.22
